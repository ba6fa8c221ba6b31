//! Both ends of a component: what it calls, and the handler that it exports.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Subscriber};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use lattice_codec::{Reader, write};
use lattice_core::subject::RpcPrefix;
use lattice_core::{ComponentId, LatticeName};
use lattice_rpc::{
    IncomingCall, Invocation, Limiter, Peer, Relief, RemoteError, ServeHandle, ServeOptions,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::PATIENCE;

const CONSUMER: &str = "wasmcloud:messaging/consumer@0.2.0";
const HANDLER: &str = "wasmcloud:messaging/handler@0.2.0";

/// `broker-message`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) subject: String,
    pub(crate) body: Bytes,
    pub(crate) reply_to: Option<String>,
}

impl Message {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn read(reader: &mut Reader) -> Self {
        Self {
            subject: reader.string().unwrap(),
            body: reader.bytes().unwrap(),
            reply_to: reader.option(Reader::string).unwrap(),
        }
    }
}

/// What the handler of a component does with a message.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    Done,
    Error(&'static str),
    Trap(&'static str),
    /// The host has no room.
    Overloaded,
    /// It returns after this time.
    After(Duration),
    /// It publishes this to `reply-to` through a link to the provider.
    Answer(Component, Bytes),
}

/// Calls the provider.
#[derive(Debug, Clone)]
pub(crate) struct Component {
    peer: Peer,
    provider: ComponentId,
    id: ComponentId,
}

impl Component {
    pub(crate) fn new(peer: &Peer, provider: &ComponentId, id: &str) -> Self {
        Self {
            peer: peer.clone(),
            provider: provider.clone(),
            id: ComponentId::new(id).unwrap(),
        }
    }

    async fn call(&self, function: &str, params: BytesMut) -> Reader {
        let prefix = RpcPrefix::new(&LatticeName::default(), &self.provider);
        let call = Invocation::new(
            prefix.invocation(CONSUMER, function),
            Instant::now() + PATIENCE,
        )
        .source(self.id.as_str())
        .target(self.provider.as_str());
        let answer = self.peer.call(call, params.freeze()).await;
        Reader::new(answer.expect("the call itself succeeds"))
    }

    pub(crate) async fn publish(&self, subject: &str, body: &[u8]) -> Result<(), String> {
        self.publish_with(subject, body, None).await
    }

    pub(crate) async fn publish_with(
        &self,
        subject: &str,
        body: &[u8],
        reply_to: Option<&str>,
    ) -> Result<(), String> {
        let mut params = BytesMut::new();
        write::string(&mut params, subject);
        write::bytes(&mut params, body);
        write::option(&mut params, reply_to, write::string);
        let mut reader = self.call("publish", params).await;
        match reader.result_is_err().unwrap() {
            true => Err(reader.string().unwrap()),
            false => Ok(()),
        }
    }

    pub(crate) async fn request(
        &self,
        subject: &str,
        body: &[u8],
        timeout_ms: u32,
    ) -> Result<Message, String> {
        let params = request(subject, body, timeout_ms);
        answered(self.call("request", params).await)
    }

    /// As [`Component::request`], in the way of callers of 1.9, which tell no deadline.
    pub(crate) async fn request_untold(
        &self,
        subject: &str,
        body: &[u8],
        timeout_ms: u32,
    ) -> Result<Message, String> {
        let nats = self.peer.nats();
        let inbox = nats.new_inbox();
        let mut frames = nats.subscribe(format!("{inbox}.>")).await.unwrap();
        let mut accepts = nats.subscribe(inbox.clone()).await.unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("source-id", self.id.as_str());
        headers.insert("link-name", "default");
        let prefix = RpcPrefix::new(&LatticeName::default(), &self.provider);
        let called = prefix.invocation(CONSUMER, "request");
        let params = request(subject, body, timeout_ms).freeze();
        let sent = nats.publish_with_reply_and_headers(called, inbox, headers, params);
        sent.await.unwrap();
        let callee = frame(&mut accepts).await.reply.unwrap();
        let end = nats.publish(format!("{callee}.params"), Bytes::new());
        end.await.unwrap();
        answered(Reader::new(frame(&mut frames).await.payload))
    }
}

fn request(subject: &str, body: &[u8], timeout_ms: u32) -> BytesMut {
    let mut params = BytesMut::new();
    write::string(&mut params, subject);
    write::bytes(&mut params, body);
    write::uleb(&mut params, timeout_ms.into());
    params
}

fn answered(mut reader: Reader) -> Result<Message, String> {
    match reader.result_is_err().unwrap() {
        true => Err(reader.string().unwrap()),
        false => Ok(Message::read(&mut reader)),
    }
}

async fn frame(frames: &mut Subscriber) -> async_nats::Message {
    let next = tokio::time::timeout(PATIENCE, frames.next()).await;
    next.expect("a frame in time").unwrap()
}

/// Takes down what a component is told.
pub(crate) struct Heard {
    messages: mpsc::UnboundedReceiver<Message>,
    serving: ServeHandle,
}

impl Heard {
    pub(crate) async fn serve<F>(peer: &Peer, id: &str, say: F) -> Self
    where
        F: Fn(&Message) -> Said + Send + Sync + 'static,
    {
        let (sender, messages) = mpsc::unbounded_channel();
        let id = ComponentId::new(id).unwrap();
        let prefix = RpcPrefix::new(&LatticeName::default(), &id);
        let options = ServeOptions {
            limiter: Arc::new(Limiter::new(1000, 1000, Duration::from_secs(1))),
            default_deadline: Duration::from_secs(5),
            longest_deadline: Duration::from_secs(60),
            relief: Relief::default(),
            takes: None,
        };
        let say = Arc::new(say);
        let handler = move |call| answer(call, Arc::clone(&say), sender.clone());
        let subject = prefix.invocation(HANDLER, "handle-message");
        let served = peer.serve(&subject, prefix.queue_group(), options, handler);
        let serving = served.await.unwrap();
        peer.confirm(PATIENCE).await.unwrap();
        Self { messages, serving }
    }

    /// Waits for the next message.
    pub(crate) async fn next(&mut self) -> Message {
        let next = tokio::time::timeout(PATIENCE, self.messages.recv()).await;
        next.expect("a message in time").expect("a handler")
    }

    /// What has come and was not yet taken.
    pub(crate) fn now(&mut self) -> Option<Message> {
        self.messages.try_recv().ok()
    }

    /// No longer serves the handler.
    pub(crate) async fn stop(self) {
        self.serving.drain(Instant::now() + PATIENCE).await;
    }
}

async fn answer<F>(mut call: IncomingCall, say: Arc<F>, heard: mpsc::UnboundedSender<Message>)
where
    F: Fn(&Message) -> Said,
{
    let Ok(params) = call.params.all(Duration::from_secs(2)).await else {
        return;
    };
    let message = Message::read(&mut Reader::new(params));
    let said = say(&message);
    if !matches!(said, Said::Overloaded) {
        // The test may have ended.
        let _ = heard.send(message.clone());
    }
    let done = Bytes::from_static(&[0]);
    let failed = |code, text| RemoteError::new(code, text);
    let sent = match said {
        Said::Done => call.responder.reply(done).await,
        Said::Error(text) => {
            let mut out = BytesMut::from(&[1][..]);
            write::string(&mut out, text);
            call.responder.reply(out.freeze()).await
        }
        Said::Trap(text) => call.responder.fail(failed(RemoteError::FAILED, text)).await,
        Said::Overloaded => {
            let error = failed(RemoteError::OVERLOADED, "no room");
            let error = error.with_retry_after(Duration::from_millis(50));
            call.responder.fail(error).await
        }
        Said::After(time) => {
            tokio::time::sleep(time).await;
            call.responder.reply(done).await
        }
        Said::Answer(component, body) => {
            let reply_to = message.reply_to.unwrap_or_default();
            component.publish(&reply_to, &body).await.unwrap();
            call.responder.reply(done).await
        }
    };
    // A caller that is gone hears nothing.
    let _ = sent;
}
