//! `wasi:messaging@0.2.0-draft` and `wasmcloud:messaging@0.3.0` of the 1.x line: one shape under two
//! names, whose clients and messages are resources. They travel as `wasmcloud:messaging@0.2.0`.
//!
//! A client stands for the link of its name; the empty one for the link that is in use. What the
//! other package has no room for is refused by name rather than lost: metadata, and more than one
//! reply. The content type is not told to the receiver, as in 1.9.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use wasmtime::component::{
    ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};

use super::message::Message;
use super::{BrokerMessage, consumer};
use crate::imports::{Remote, chain, outcome};
use crate::outbound::Outbound;
use crate::store::Ctx;
use crate::wire::{Wire, WireList};
use crate::{InvokeError, Shape};

/// The packages, with the versions whose shape this is.
const PACKAGES: [(&str, &str); 2] = [
    ("wasi:messaging", "0.2.0-draft"),
    ("wasmcloud:messaging", "0.3.0"),
];

/// How long a request waits that does not say.
const USUAL_TIMEOUT: Duration = Duration::from_secs(5);

const PUBLISH: Remote = consumer("publish");
const REQUEST: Remote = consumer("request");

/// `client`: the name of a link.
struct Client(String);

/// `request-options`.
#[derive(Default)]
struct RequestOptions {
    timeout: Option<Duration>,
    replies: Option<u32>,
}

/// `error`.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
pub(crate) enum Error {
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "connection")]
    Connection(String),
    #[component(name = "permission-denied")]
    PermissionDenied(String),
    #[component(name = "other")]
    Other(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("timeout"),
            Self::Connection(text) => write!(f, "connection: {text}"),
            Self::PermissionDenied(text) => write!(f, "permission denied: {text}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

type Sent = Result<(), Error>;
type Answers = Result<Vec<Resource<Message>>, Error>;

pub(super) fn link(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    for (package, version) in PACKAGES {
        let name = |interface: &str| format!("{package}/{interface}@{version}");
        let mut types = linker.instance(&name("types"))?;
        link_clients(&mut types)?;
        link_messages(&mut types)?;
        link_metadata(&mut types)?;
        link_send(&mut linker.instance(&name("producer"))?)?;
        let mut requests = linker.instance(&name("request-reply"))?;
        link_options(&mut requests)?;
        link_request(&mut requests)?;
        link_reply(&mut requests)?;
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

fn link_send(producer: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    type Params = (Resource<Client>, String, Held);
    let results = outcome::<(), String>();
    producer.func_wrap_async(
        "send",
        move |mut store, (client, topic, message): Params| {
            let results = results.clone();
            Box::new(async move {
                let message = store.data_mut().table.delete(message)?;
                let outbound = through(store.data(), &client)?;
                Ok((publish(&outbound, &results, topic, &message).await,))
            })
        },
    )
}

fn link_request(requests: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    type Params = (
        Resource<Client>,
        String,
        Held,
        Option<Resource<RequestOptions>>,
    );
    let results = (outcome::<BrokerMessage, String>(), outcome::<(), String>());
    requests.func_wrap_async(
        "request",
        move |mut store, (client, topic, message, options): Params| {
            let results = results.clone();
            Box::new(async move {
                let options = match options {
                    Some(options) => store.data_mut().table.delete(options)?,
                    None => RequestOptions::default(),
                };
                let outbound = through(store.data(), &client)?;
                let message = store.data().table.get(&message)?;
                let asked = match options.replies {
                    Some(0) => {
                        let sent = publish(&outbound, &results.1, topic, message).await;
                        sent.map(|()| None)
                    }
                    _ => ask(&outbound, &results.0, topic, message, &options)
                        .await
                        .map(Some),
                };
                let answers: Answers = match asked {
                    Ok(answer) => {
                        let mut answers = Vec::new();
                        if let Some(answer) = answer {
                            let budget = store.data_mut().writing();
                            let answer = Message::arrived(answer, budget);
                            answers.push(store.data_mut().table.push(answer)?);
                        }
                        Ok(answers)
                    }
                    Err(error) => Err(error),
                };
                Ok((answers,))
            })
        },
    )
}

fn link_reply(requests: &mut LinkerInstance<'_, Ctx>) -> wasmtime::Result<()> {
    let results = outcome::<(), String>();
    requests.func_wrap_async(
        "reply",
        move |mut store, (reply_to, message): (Held, Held)| {
            let results = results.clone();
            Box::new(async move {
                let message = store.data_mut().table.delete(message)?;
                let reply_to = store.data().table.get(&reply_to)?.reply_to();
                // As the package has it: nothing happens where no answer is wanted.
                let Some(topic) = reply_to.map(str::to_owned) else {
                    return Ok((Ok(()),));
                };
                let outbound = store.data().outbound().clone();
                Ok((publish(&outbound, &results, topic, &message).await,))
            })
        },
    )
}

/// The way out through the link that a client stands for.
fn through(cx: &Ctx, client: &Resource<Client>) -> wasmtime::Result<Outbound> {
    let Client(name) = cx.table.get(client)?;
    let mut outbound = cx.outbound().clone();
    if !name.is_empty() {
        outbound.set_link(PUBLISH.lookup.to_owned(), name.as_str().into());
    }
    Ok(outbound)
}

/// Refuses what would be lost on the way.
fn check(message: &Message) -> Sent {
    match message.metadata().first() {
        None => Ok(()),
        Some((key, _)) => Err(Error::Other(format!(
            "the message has metadata, such as `{key}`, which brokers are not told"
        ))),
    }
}

async fn publish(outbound: &Outbound, results: &Shape, topic: String, message: &Message) -> Sent {
    check(message)?;
    let message = BrokerMessage {
        subject: topic,
        body: message.data(),
        reply_to: None,
    };
    call(outbound, PUBLISH, results, &(message,)).await
}

async fn ask(
    outbound: &Outbound,
    results: &Shape,
    topic: String,
    message: &Message,
    options: &RequestOptions,
) -> Result<BrokerMessage, Error> {
    check(message)?;
    if let Some(replies) = options.replies.filter(|replies| *replies > 1) {
        return Err(Error::Other(format!(
            "the request expects {replies} replies, and brokers are asked for one"
        )));
    }
    let timeout = options.timeout.unwrap_or(USUAL_TIMEOUT);
    let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    let began = Instant::now();
    let params = (topic, message.data(), millis);
    let answer = call(outbound, REQUEST, results, &params).await;
    answer.map_err(|error| match error {
        // A text, of which only the time tells what it means.
        Error::Other(_) if began.elapsed() >= timeout => Error::Timeout,
        other => other,
    })
}

/// Calls a function of `consumer`, whose errors are texts.
async fn call<T: Wire>(
    outbound: &Outbound,
    remote: Remote,
    results: &Shape,
    params: &impl WireList,
) -> Result<T, Error> {
    let reply = outbound.call(remote.target(results), params.to_bytes());
    match reply.await {
        Ok(reply) => match <(Result<T, String>,)>::from_bytes(reply) {
            Ok((answer,)) => answer.map_err(Error::Other),
            Err(error) => Err(Error::Other(chain(&error))),
        },
        Err(InvokeError::Deadline) => Err(Error::Timeout),
        Err(error @ InvokeError::Denied { .. }) => Err(Error::PermissionDenied(chain(&error))),
        Err(error @ InvokeError::Limited { .. }) => Err(Error::Other(chain(&error))),
        Err(error) => Err(Error::Connection(chain(&error))),
    }
}
