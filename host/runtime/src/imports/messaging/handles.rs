//! `wasi:messaging@0.2.0-draft` and `wasmcloud:messaging@0.3.0` of the 1.x line: one shape under two
//! names, whose clients and messages are resources.
//!
//! They travel as `lattice:messaging@0.1.0`, which has all of it, and as `wasmcloud:messaging@0.2.0`
//! where a provider does not serve that, as those of 1.x do not. What the latter has no room for is
//! refused by name rather than lost: metadata, and more than one reply. The content type is not told
//! to its receiver, as in 1.9.
//!
//! A client stands for the link of its name; the empty one for the link that is in use. The link is
//! one for the package that the component imports, or for `wasmcloud:messaging/consumer`.

use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType};

use super::message::Message;
use super::own::{Error, OwnMessage};
use super::road::{Road, Shapes, Wanted};
use crate::imports::check_kept;
use crate::store::Ctx;

/// A package whose shape this is.
struct Package {
    name: &'static str,
    version: &'static str,
    /// Its interfaces as links name them.
    producer: &'static str,
    request_reply: &'static str,
}

const PACKAGES: [Package; 2] = [
    Package {
        name: "wasi:messaging",
        version: "0.2.0-draft",
        producer: "wasi:messaging/producer",
        request_reply: "wasi:messaging/request-reply",
    },
    Package {
        name: "wasmcloud:messaging",
        version: "0.3.0",
        producer: "wasmcloud:messaging/producer",
        request_reply: "wasmcloud:messaging/request-reply",
    },
];

/// Whether an interface, as links name it, may be linked as that of 1.x instead.
pub(super) fn is_linked_as_consumer(lookup: &str) -> bool {
    let mut all = PACKAGES
        .iter()
        .flat_map(|package| [package.producer, package.request_reply]);
    all.any(|known| known == lookup)
}

/// How long a request waits that does not say.
const USUAL_TIMEOUT: Duration = Duration::from_secs(5);

/// `client`: the name of a link.
struct Client(String);

/// `request-options`.
#[derive(Default)]
struct RequestOptions {
    timeout: Option<Duration>,
    replies: Option<u32>,
}

type Answers = Result<Vec<Held>, Error>;

pub(super) fn link(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    let shapes = Shapes::new();
    for package in &PACKAGES {
        let Package { name, version, .. } = package;
        let name = |interface: &str| format!("{name}/{interface}@{version}");
        let mut types = linker.instance(&name("types"))?;
        link_clients(&mut types)?;
        link_messages(&mut types)?;
        link_metadata(&mut types)?;
        let mut producer = linker.instance(&name("producer"))?;
        link_send(&mut producer, package.producer, &shapes)?;
        let mut requests = linker.instance(&name("request-reply"))?;
        link_options(&mut requests)?;
        link_request(&mut requests, package.request_reply, &shapes)?;
        link_reply(&mut requests, package.request_reply, &shapes)?;
    }
    Ok(())
}

/// Registers a resource that the host keeps in the table.
fn resource<T: Send + 'static>(
    instance: &mut LinkerInstance<'_, Ctx>,
    name: &str,
) -> wasmtime::Result<()> {
    instance.resource(name, ResourceType::host::<T>(), |mut store, rep| {
        store.data_mut().table.delete(Resource::<T>::new_own(rep))?;
        Ok(())
    })
}

fn link_clients(types: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    resource::<Client>(types, "client")?;
    types.func_wrap("[static]client.connect", |mut store, (name,): (String,)| {
        if let Err(refused) = check_kept("the name of a link", &name) {
            return Ok((Err(Error::Other(refused)),));
        }
        let client = store.data_mut().table.push(Client(name))?;
        Ok((Ok::<_, Error>(client),))
    })?;
    types.func_wrap(
        "[method]client.disconnect",
        |_, (_,): (Resource<Client>,)| Ok((Ok::<(), Error>(()),)),
    )
}

fn link_messages(types: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    resource::<Message>(types, "message")?;
    types.func_wrap("[constructor]message", |mut store, (data,): (Bytes,)| {
        let budget = store.data_mut().writing();
        let message = Message::new(data, budget)?;
        Ok((store.data_mut().table.push(message)?,))
    })?;
    types.func_wrap("[method]message.topic", |store, (message,): (Held,)| {
        Ok((store.data().table.get(&message)?.topic(),))
    })?;
    types.func_wrap(
        "[method]message.content-type",
        |store, (message,): (Held,)| Ok((store.data().table.get(&message)?.content_type(),)),
    )?;
    types.func_wrap(
        "[method]message.set-content-type",
        |mut store, (message, text): (Held, String)| {
            let message = store.data_mut().table.get_mut(&message)?;
            Ok(message.set_content_type(text)?)
        },
    )?;
    types.func_wrap("[method]message.data", |store, (message,): (Held,)| {
        Ok((store.data().table.get(&message)?.data(),))
    })?;
    types.func_wrap(
        "[method]message.set-data",
        |mut store, (message, data): (Held, Bytes)| {
            let message = store.data_mut().table.get_mut(&message)?;
            Ok(message.set_data(data)?)
        },
    )
}

type Held = Resource<Message>;

fn link_metadata(types: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    types.func_wrap("[method]message.metadata", |store, (message,): (Held,)| {
        let metadata = store.data().table.get(&message)?.metadata();
        Ok(((!metadata.is_empty()).then(|| metadata.to_vec()),))
    })?;
    types.func_wrap(
        "[method]message.add-metadata",
        |mut store, (message, key, value): (Held, String, String)| {
            let message = store.data_mut().table.get_mut(&message)?;
            Ok(message.add_metadata(key, value)?)
        },
    )?;
    types.func_wrap(
        "[method]message.set-metadata",
        |mut store, (message, all): (Held, Vec<(String, String)>)| {
            let message = store.data_mut().table.get_mut(&message)?;
            Ok(message.set_metadata(all)?)
        },
    )?;
    types.func_wrap(
        "[method]message.remove-metadata",
        |mut store, (message, key): (Held, String)| {
            let message = store.data_mut().table.get_mut(&message)?;
            Ok(message.remove_metadata(&key)?)
        },
    )
}

fn link_options(requests: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    type Options = Resource<RequestOptions>;
    resource::<RequestOptions>(requests, "request-options")?;
    requests.func_wrap("[constructor]request-options", |mut store, (): ()| {
        Ok((store.data_mut().table.push(RequestOptions::default())?,))
    })?;
    requests.func_wrap(
        "[method]request-options.set-timeout-ms",
        |mut store, (options, millis): (Options, u32)| {
            let options = store.data_mut().table.get_mut(&options)?;
            options.timeout = Some(Duration::from_millis(millis.into()));
            Ok(())
        },
    )?;
    requests.func_wrap(
        "[method]request-options.set-expected-replies",
        |mut store, (options, replies): (Options, u32)| {
            store.data_mut().table.get_mut(&options)?.replies = Some(replies);
            Ok(())
        },
    )
}

fn link_send(
    producer: &mut LinkerInstance<'_, Ctx>,
    lookup: &'static str,
    shapes: &Shapes,
) -> wasmtime::Result<()> {
    type Params = (Resource<Client>, String, Held);
    let shapes = shapes.clone();
    producer.func_wrap_async(
        "send",
        move |mut store, (client, topic, message): Params| {
            let shapes = shapes.clone();
            Box::new(async move {
                let message = store.data_mut().table.delete(message)?;
                let Client(name) = store.data().table.get(&client)?;
                let road = Road::new(store.data(), name, lookup, shapes);
                Ok((road.publish(topic, &message).await,))
            })
        },
    )
}

fn link_request(
    requests: &mut LinkerInstance<'_, Ctx>,
    lookup: &'static str,
    shapes: &Shapes,
) -> wasmtime::Result<()> {
    type Params = (
        Resource<Client>,
        String,
        Held,
        Option<Resource<RequestOptions>>,
    );
    let shapes = shapes.clone();
    requests.func_wrap_async(
        "request",
        move |mut store, (client, topic, message, options): Params| {
            let shapes = shapes.clone();
            Box::new(async move {
                let options = match options {
                    Some(options) => store.data_mut().table.delete(options)?,
                    None => RequestOptions::default(),
                };
                let Client(name) = store.data().table.get(&client)?;
                let road = Road::new(store.data(), name, lookup, shapes);
                let message = store.data().table.get(&message)?;
                let answers = match road.ask(topic, message, options.wanted()).await {
                    Ok(answers) => held(store.data_mut(), answers)?,
                    Err(error) => Err(error),
                };
                Ok((answers as Answers,))
            })
        },
    )
}

impl RequestOptions {
    fn wanted(&self) -> Wanted {
        Wanted {
            timeout: self.timeout.unwrap_or(USUAL_TIMEOUT),
            replies: self.replies.unwrap_or(1),
        }
    }
}

/// Answers as handles of the guest, unless they are more than it may hold.
fn held(cx: &mut Ctx, answers: Vec<OwnMessage>) -> wasmtime::Result<Answers> {
    let budget = cx.writing();
    let counted = answers
        .into_iter()
        .map(|answer| Message::answered(answer, budget.clone()));
    // All of them before the first handle, so that none stays behind.
    let messages = match counted.collect::<Result<Vec<_>, _>>() {
        Ok(messages) => messages,
        Err(error) => return Ok(Err(Error::Other(error.to_string()))),
    };
    let mut handles = Vec::with_capacity(messages.len());
    for message in messages {
        handles.push(cx.table.push(message)?);
    }
    Ok(Ok(handles))
}

fn link_reply(
    requests: &mut LinkerInstance<'_, Ctx>,
    lookup: &'static str,
    shapes: &Shapes,
) -> wasmtime::Result<()> {
    let shapes = shapes.clone();
    requests.func_wrap_async(
        "reply",
        move |mut store, (reply_to, message): (Held, Held)| {
            let shapes = shapes.clone();
            Box::new(async move {
                let message = store.data_mut().table.delete(message)?;
                let reply_to = store.data().table.get(&reply_to)?.reply_to();
                // As the package has it: nothing happens where no answer is wanted.
                let Some(topic) = reply_to.map(str::to_owned) else {
                    return Ok((Ok(()),));
                };
                let road = Road::new(store.data(), "", lookup, shapes);
                Ok((road.publish(topic, &message).await,))
            })
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_interfaces_of_messages_by_handle_have_a_second_link() {
        assert!(is_linked_as_consumer("wasi:messaging/producer"));
        assert!(is_linked_as_consumer("wasmcloud:messaging/request-reply"));
        assert!(!is_linked_as_consumer("wasmcloud:messaging/consumer"));
        assert!(!is_linked_as_consumer("wasi:keyvalue/store"));
    }
}
