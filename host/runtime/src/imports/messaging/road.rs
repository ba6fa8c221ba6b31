//! How what a guest sends with its handles reaches a provider: through which link, and in which form.
//!
//! A provider that is late may be one of our own form. It is taken for one of 1.x when it serves that form
//! and not ours, or when it was late and then, asked for no more than that, does not say that it serves
//! ours; and never after it has answered in our form, until its link changes.

use std::sync::Arc;
use std::time::Duration;

use lattice_core::values::Plain;
use tokio::time::Instant;

use super::forms::{Known, Link};
use super::message::Message;
use super::own::{Error, OFFERED, OwnMessage, PRODUCER};
use super::{BrokerMessage, CONSUMER};
use crate::component::Shared;
use crate::imports::{chain, outcome};
use crate::outbound::{Outbound, Target};
use crate::store::Ctx;
use crate::wire::{Wire, WireList};
use crate::{CodecError, InvokeError, Shape};

/// The interface of 1.x as links name it.
pub(super) const CONSUMER_LOOKUP: &str = "wasmcloud:messaging/consumer";

/// How long a provider may take to say that it serves our own form, of which it asks nobody.
const SAID: Duration = Duration::from_millis(500);

/// The shapes of what comes back, which are made once.
#[derive(Clone)]
pub(super) struct Shapes {
    sent: Shape,
    answers: Shape,
    offered: Shape,
    plain_sent: Shape,
    plain_answer: Shape,
}

impl Shapes {
    pub(super) fn new() -> Self {
        Self {
            sent: outcome::<(), Error>(),
            answers: outcome::<Vec<OwnMessage>, Error>(),
            offered: <()>::shape(),
            plain_sent: outcome::<(), String>(),
            plain_answer: outcome::<BrokerMessage, String>(),
        }
    }
}

/// What a request waits for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) timeout: Duration,
    pub(super) replies: u32,
}

impl Wanted {
    fn millis(self) -> u32 {
        u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX)
    }
}

/// The way out through one link.
pub(super) struct Road {
    outbound: Outbound,
    lookup: &'static str,
    /// The version of the link.
    version: Option<u64>,
    shapes: Shapes,
    shared: Arc<Shared>,
}

/// What a function returned, which may not be what it returns.
type Reply<T> = Result<Result<T, CodecError>, InvokeError>;

/// Our own form is not served behind the link.
struct NotServed(InvokeError);

impl Road {
    /// The way through the link for `own`, the interface that the guest imports, or else through
    /// that for the consumer of 1.x, as which such components were linked there. A client has the
    /// name of the link; where that is empty it is the one that the guest has chosen for the
    /// interface.
    pub(super) fn new(cx: &Ctx, client: &str, own: &'static str, shapes: Shapes) -> Self {
        let mut outbound = cx.outbound().clone();
        let chosen = match client {
            "" => outbound.chosen(own).map(str::to_owned),
            name => Some(name.to_owned()),
        };
        let name = |lookup| match &chosen {
            Some(name) => name.clone(),
            None => outbound.link_name(lookup).to_owned(),
        };
        let ways = [own, CONSUMER_LOOKUP].map(|lookup| (lookup, name(lookup)));
        let linked = ways
            .iter()
            .find(|(lookup, name)| cx.env().has_link(name, lookup));
        let (lookup, name) = linked.unwrap_or(&ways[0]).clone();
        let version = cx.env().link_version(&name, lookup);
        outbound.set_link(lookup.to_owned(), name.into());
        Self {
            outbound,
            lookup,
            version,
            shapes,
            shared: Arc::clone(cx.shared()),
        }
    }

    /// Sends a message that is not to be answered. One that has nothing besides subject and body goes in
    /// the form of 1.x, which all providers serve, unless this one does not.
    pub(super) async fn publish(&self, topic: String, message: &Message) -> Result<(), Error> {
        let not_served = match message.is_plain() || self.is_plain().await {
            true => None,
            false => match self.publish_own(&topic, message, false).await {
                Ok(sent) => return sent,
                Err(not_served) => Some(not_served),
            },
        };
        check(message, not_served.as_ref())?;
        let params = (BrokerMessage {
            subject: topic.clone(),
            body: message.data(),
            reply_to: None,
        },);
        let shape = &self.shapes.plain_sent;
        let again = not_served.is_some();
        let sent = self.call::<Result<(), String>>(CONSUMER, "publish", shape, params, again);
        let plainly = sent.await;
        match &plainly {
            Err(error) if is_nowhere(error) && !again => {
                let own = self.publish_own(&topic, message, true).await;
                own.unwrap_or_else(|_| self.plainly(plainly, false))
            }
            _ => self.plainly(plainly, again),
        }
    }

    async fn publish_own(
        &self,
        topic: &str,
        message: &Message,
        again: bool,
    ) -> Result<Result<(), Error>, NotServed> {
        let params = (message.sent_to(topic.to_owned()),);
        let shape = &self.shapes.sent;
        self.own("publish", shape, params, again).await
    }

    /// Sends a request, and waits for its answers.
    pub(super) async fn ask(
        &self,
        topic: String,
        message: &Message,
        wanted: Wanted,
    ) -> Result<Vec<OwnMessage>, Error> {
        if wanted.replies == 0 {
            return self.publish(topic, message).await.map(|()| Vec::new());
        }
        let not_served = match self.is_plain().await {
            true => None,
            false => {
                let message = message.sent_to(topic.clone());
                let params = (message, wanted.millis(), wanted.replies);
                let shape = &self.shapes.answers;
                match self.own("request", shape, params, false).await {
                    Ok(answers) => return answers,
                    Err(not_served) => Some(not_served),
                }
            }
        };
        self.ask_plainly(topic, message, wanted, not_served).await
    }

    /// Sends a request in the form of 1.x.
    async fn ask_plainly(
        &self,
        topic: String,
        message: &Message,
        wanted: Wanted,
        not_served: Option<NotServed>,
    ) -> Result<Vec<OwnMessage>, Error> {
        check(message, not_served.as_ref())?;
        if wanted.replies > 1 {
            return Err(Error::Other(format!(
                "the request expects {} replies, and {} is asked for one",
                wanted.replies,
                who(not_served.as_ref())
            )));
        }
        let began = Instant::now();
        let params = (topic, message.data(), wanted.millis());
        let shape = &self.shapes.plain_answer;
        let again = not_served.is_some();
        let reply =
            self.call::<Result<BrokerMessage, String>>(CONSUMER, "request", shape, params, again);
        match self.plainly(reply.await, again) {
            Ok(answer) => Ok(vec![OwnMessage::from(answer)]),
            // A text, of which only the time tells what it means.
            Err(Error::Other(_)) if began.elapsed() >= wanted.timeout => Err(Error::Timeout),
            Err(error) => Err(error),
        }
    }

    /// Whether the provider is known to serve only the form of 1.x. One that is in doubt is asked.
    async fn is_plain(&self) -> bool {
        match self.shared.message_forms.of(self.link()) {
            None | Some(Known::Own) => false,
            Some(Known::Plain) => true,
            Some(Known::Doubtful) => self.is_silent().await,
        }
    }

    /// Whether the provider does not say that it serves our own form.
    async fn is_silent(&self) -> bool {
        let asked = self.call::<()>(PRODUCER, OFFERED, &self.shapes.offered, (), false);
        let known = match tokio::time::timeout(SAID, asked).await {
            // Rules that know nothing of the question refuse it, now and whenever it is asked.
            Ok(Ok(_) | Err(InvokeError::Denied { .. })) => Known::Own,
            Err(_) => Known::Plain,
            // Nobody is there, or the time of the guest ends: that says nothing.
            Ok(Err(_)) => return false,
        };
        self.learn(known);
        self.shared.message_forms.of(self.link()) == Some(Known::Plain)
    }

    fn link(&self) -> Link<'_> {
        Link {
            package: self.package(),
            name: self.outbound.link_name(self.lookup),
            version: self.version,
        }
    }

    fn learn(&self, known: Known) {
        self.shared.message_forms.put(self.link(), known);
    }

    /// The package that the link is for.
    fn package(&self) -> &'static str {
        self.lookup
            .split_once('/')
            .map_or(self.lookup, |parts| parts.0)
    }

    /// Calls a function of our own package; `again` says whether that of 1.x was tried before.
    async fn own<T: Wire + Plain>(
        &self,
        function: &str,
        results: &Shape,
        params: impl WireList + Plain,
        again: bool,
    ) -> Result<Result<T, Error>, NotServed> {
        let called = self.call::<Result<T, Error>>(PRODUCER, function, results, params, again);
        match called.await {
            Err(error) if is_nowhere(&error) => Err(NotServed(error)),
            // It is late, or of 1.x: where somebody listens to all calls, NATS does not say that
            // nobody serves one.
            Err(InvokeError::Deadline) => {
                self.learn(Known::Doubtful);
                Ok(Err(Error::Timeout))
            }
            reply => {
                if reply.is_ok() {
                    self.learn(Known::Own);
                }
                Ok(read(reply).and_then(|answer| answer))
            }
        }
    }

    /// Reads the answer of a function of the package of 1.x, whose errors are texts. Remembers a provider
    /// that serves it and, as was just found, nothing else.
    fn plainly<T>(&self, reply: Reply<Result<T, String>>, is_only: bool) -> Result<T, Error> {
        let is_served = !matches!(&reply, Err(error) if is_nowhere(error));
        if is_only && is_served {
            self.learn(Known::Plain);
        }
        read(reply)?.map_err(Error::Other)
    }

    /// Calls a function that returns a `T`: with values as they are where whoever serves it is in this
    /// process.
    async fn call<T: Wire + Plain>(
        &self,
        instance: &str,
        function: &str,
        results: &Shape,
        params: impl WireList + Plain,
        again: bool,
    ) -> Reply<T> {
        let target = Target {
            lookup: self.lookup,
            instance,
            function,
            results,
            // Guests ask for nothing of the kind here.
            by_host: function == OFFERED,
            again,
        };
        let params = match self.outbound.call_plain(target, params).await {
            Ok(answer) => return answer.map(Ok),
            Err(params) => params,
        };
        let reply = self.outbound.call(target, params.to_bytes()).await?;
        let answer = <(T,)>::from_answer(results, reply);
        Ok(answer.map(|(answer,)| answer))
    }
}

/// Whether nobody serves the function, or nobody where the link has its calls go.
fn is_nowhere(error: &InvokeError) -> bool {
    matches!(
        error,
        InvokeError::NotServed { .. } | InvokeError::NotLocal { .. }
    )
}

/// The answer of a function, or what kept it from coming.
fn read<T>(reply: Reply<T>) -> Result<T, Error> {
    match reply {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Error::Other(chain(&error))),
        Err(InvokeError::Deadline) => Err(Error::Timeout),
        Err(error @ InvokeError::Denied { .. }) => Err(Error::PermissionDenied(chain(&error))),
        Err(error @ InvokeError::Limited { .. }) => Err(Error::Other(chain(&error))),
        Err(error) => Err(Error::Connection(chain(&error))),
    }
}

/// Who has no room for something, in words.
fn who(not_served: Option<&NotServed>) -> String {
    match not_served {
        Some(NotServed(InvokeError::NotServed { target, .. })) => format!("`{target}`"),
        _ => "a provider of `wasmcloud:messaging@0.2.0`".to_owned(),
    }
}

/// Refuses what would be lost on the way in the form of 1.x. The content type is lost, as in 1.9.
fn check(message: &Message, not_served: Option<&NotServed>) -> Result<(), Error> {
    match message.metadata().first() {
        None => Ok(()),
        Some((key, _)) => Err(Error::Other(format!(
            "the message has metadata, such as `{key}`, which {} is not told: `{PRODUCER}` is not \
             served there",
            who(not_served)
        ))),
    }
}
