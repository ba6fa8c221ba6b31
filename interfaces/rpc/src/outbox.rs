//! The way out of a peer: what many tasks send at about the same time leaves in one write.
//!
//! The client writes as soon as it is woken, so that messages of calls which run one after the
//! other would each be a write here, and a read and a write of the server. The task of the outbox
//! lets every other task that is ready have its turn before it hands over what has come together.
//! Order is kept.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, HeaderMap, Message, Subject};
use bytes::Bytes;
use futures::FutureExt as _;
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::error::CallError;
use crate::exchange::Exchange;
use crate::header;
use crate::outbound;

/// The longest subject: nats-server ends a connection that writes more than 4096 bytes before a
/// payload, and a message has two subjects.
const MAX_SUBJECT: usize = 1900;

/// How many messages may wait; then whoever sends waits. Also the most that are handed over before
/// others get a turn.
const ROOM: usize = 256;

/// With how many messages it is time to hand over, whoever else is ready.
const ENOUGH: usize = 32;

/// How long a message may wait for room. Requests have their deadline besides.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How often it is looked whether the connection is back.
const LOOK: Duration = Duration::from_millis(10);

/// A message on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) subject: Subject,
    pub(crate) reply: Option<Subject>,
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) payload: Bytes,
    /// When nobody waits for it any more; for requests.
    pub(crate) deadline: Option<Instant>,
}

impl Outgoing {
    /// An empty message with a place for replies.
    pub(crate) fn reply(subject: Subject, reply: Subject) -> Self {
        Self {
            subject,
            reply: Some(reply),
            headers: None,
            payload: Bytes::new(),
            deadline: None,
        }
    }
}

impl Outgoing {
    /// What NATS would have made of it for whoever gets it.
    pub(crate) fn arrived(self) -> Message {
        let Self {
            subject,
            reply,
            headers,
            payload,
            deadline: _,
        } = self;
        Message {
            length: payload.len(),
            subject,
            reply,
            payload,
            headers,
            status: None,
            description: None,
        }
    }
}

/// A message that waits to be handed over.
#[derive(Debug)]
pub(crate) struct Waiting {
    message: Outgoing,
    /// The call whose request it is.
    call: Option<Arc<Exchange>>,
}

/// A message that was not taken; boxed, since it is rare.
pub(crate) type Refused = Box<TrySendError<Waiting>>;

/// Where the messages of a peer come together.
#[derive(Debug)]
pub(crate) struct Outbox {
    nats: Client,
    messages: Sender<Waiting>,
    enough: Arc<Notify>,
}

impl Outbox {
    /// An outbox, and the work that empties it. The work ends when the outbox is dropped, or,
    /// after having sent what is there, when `closing` is cancelled.
    pub(crate) fn new(
        nats: Client,
        closing: CancellationToken,
        auth: Option<Auth>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (messages, queue) = mpsc::channel(ROOM);
        let enough = Arc::new(Notify::new());
        let work = empty(nats.clone(), queue, Arc::clone(&enough), closing, auth);
        let outbox = Self {
            nats,
            messages,
            enough,
        };
        (outbox, work)
    }

    /// Takes a message; waits while there is no room. What NATS would not take is refused here,
    /// where somebody hears of it.
    pub(crate) async fn send(&self, message: Outgoing) -> Result<(), CallError> {
        self.put(message, None).await
    }

    /// The same for the request of a call, which can find out whether NATS has had it.
    pub(crate) async fn send_request(
        &self,
        request: Outgoing,
        call: &Arc<Exchange>,
    ) -> Result<(), CallError> {
        call.waits_to_leave();
        self.put(request, Some(Arc::clone(call))).await
    }

    async fn put(&self, message: Outgoing, call: Option<Arc<Exchange>>) -> Result<(), CallError> {
        self.check(&message)?;
        let ended = || CallError::Send("the peer is closed".to_owned());
        let Err(refused) = self.try_put(Waiting { message, call }) else {
            return Ok(());
        };
        match *refused {
            TrySendError::Closed(_) => Err(ended()),
            // Boxed, since it is rare and would make every call's future larger.
            TrySendError::Full(message) => {
                let taken = timeout(LONGEST_WAIT, self.messages.send(message));
                match Box::pin(taken).await {
                    Ok(sent) => sent.map_err(|_| ended()),
                    Err(_) => Err(CallError::Send("NATS takes no messages".to_owned())),
                }
            }
        }
    }

    /// Takes a message that NATS is known to take, if there is room.
    pub(crate) fn try_send(&self, message: Outgoing) -> Result<(), Refused> {
        let call = None;
        self.try_put(Waiting { message, call })
    }

    fn try_put(&self, waiting: Waiting) -> Result<(), Refused> {
        self.messages.try_send(waiting).map_err(Box::new)?;
        if ROOM - self.messages.capacity() == ENOUGH {
            self.enough.notify_one();
        }
        Ok(())
    }

    fn check(&self, message: &Outgoing) -> Result<(), CallError> {
        let headers = message.headers.as_ref().map_or(0, outbound::header_len);
        let (size, limit) = (message.payload.len() + headers, self.nats.max_payload());
        if size > limit {
            let text = format!("a message of {size} bytes, more than the server's {limit}");
            return Err(CallError::Send(text));
        }
        check_subject(&message.subject).map_err(CallError::Send)
    }
}

/// What is wrong with a subject, if anything is.
pub(crate) fn check_subject(subject: &Subject) -> Result<(), String> {
    if subject.len() > MAX_SUBJECT {
        let start: String = subject.chars().take(80).collect();
        let len = subject.len();
        return Err(format!(
            "`{start}…` has {len} bytes, more than the {MAX_SUBJECT} of a subject"
        ));
    }
    if !subject.is_valid() {
        return Err(format!("`{subject}` is no subject"));
    }
    Ok(())
}

async fn empty(
    nats: Client,
    mut queue: Receiver<Waiting>,
    enough: Arc<Notify>,
    closing: CancellationToken,
    auth: Option<Auth>,
) {
    let mut batch = Vec::with_capacity(ROOM);
    let mut was_away = None;
    loop {
        let taken = tokio::select! {
            biased;
            taken = queue.recv_many(&mut batch, ROOM) => taken,
            () = closing.cancelled(), if !queue.is_closed() => {
                queue.close();
                continue;
            }
        };
        if taken == 0 {
            return;
        }
        if batch.len() < ENOUGH {
            // What was told of an earlier batch says nothing of this one.
            let _ = enough.notified().now_or_never();
            // tokio runs whoever is ready before a task that yields.
            tokio::select! {
                biased;
                () = enough.notified() => {}
                () = tokio::task::yield_now() => {}
            }
        }
        while batch.len() < ROOM
            && let Ok(more) = queue.try_recv()
        {
            batch.push(more);
        }
        // The client would keep what it is given until it has a connection again, and send it then,
        // long after its caller has been told that it failed.
        if until_connected(&nats).await {
            was_away = Some(Instant::now());
        }
        let now = Instant::now();
        // Whoever waited for room meanwhile comes in later batches.
        let late = was_away.is_some_and(|at| now - at < LONGEST_WAIT);
        for waiting in batch.drain(..) {
            let Waiting { message, call } = waiting;
            // Its caller may have given it up a moment ago.
            let may_leave = || call.is_none_or(|call| call.may_leave());
            if let Some(message) = in_time(message, now, late, auth.as_ref())
                && may_leave()
            {
                hand_over(&nats, message).await;
            }
        }
    }
}

/// Waits for the connection; true if it was away.
async fn until_connected(nats: &Client) -> bool {
    let mut held = false;
    while nats.connection_state() != State::Connected {
        held = true;
        tokio::time::sleep(LOOK).await;
    }
    held
}

/// The message, if somebody still waits for what becomes of it. One that may be late tells anew how
/// much time is left, and proves it.
fn in_time(
    mut message: Outgoing,
    now: Instant,
    late: bool,
    auth: Option<&Auth>,
) -> Option<Outgoing> {
    let Some(deadline) = message.deadline else {
        return Some(message);
    };
    if deadline <= now {
        tracing::debug!(subject = %message.subject, "dropped a request past its deadline");
        return None;
    }
    if !late {
        return Some(message);
    }
    let own = auth.filter(|auth| auth.has_made(&message));
    if let Some(headers) = &mut message.headers {
        header::write_left(headers, deadline);
    }
    if let Some(auth) = own {
        auth.prove(&mut message);
    }
    Some(message)
}

#[expect(clippy::disallowed_methods, reason = "owns the subjects of calls")]
async fn hand_over(nats: &Client, message: Outgoing) {
    let Outgoing {
        subject,
        reply,
        headers,
        payload,
        deadline: _,
    } = message;
    let name = subject.clone();
    let sent = match (reply, headers) {
        (None, None) => nats.publish(subject, payload).await,
        (None, Some(headers)) => nats.publish_with_headers(subject, headers, payload).await,
        (Some(reply), None) => nats.publish_with_reply(subject, reply, payload).await,
        (Some(reply), Some(headers)) => {
            nats.publish_with_reply_and_headers(subject, reply, headers, payload)
                .await
        }
    };
    if let Err(error) = sent {
        tracing::warn!(subject = %name, %error, "a message of a call was not sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use futures::StreamExt as _;
    use lattice_nats_box::{NatsBox, NatsBoxOptions, taken_in};

    use crate::call::Invocation;
    use crate::peer::{Peer, PeerConfig};
    use crate::reached::Reached;

    fn numbered(number: usize) -> Outgoing {
        Outgoing {
            subject: "numbers".into(),
            reply: None,
            headers: None,
            payload: number.to_string().into(),
            deadline: None,
        }
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a test listens to the wire")]
    async fn messages_keep_their_order_and_are_sent_before_the_end() {
        let nats = NatsBox::start().await.unwrap();
        let listener = nats.client().await.unwrap();
        let mut heard = listener.subscribe("numbers").await.unwrap();
        taken_in(&listener).await.unwrap();
        let closing = CancellationToken::new();
        let (outbox, work) = Outbox::new(nats.client().await.unwrap(), closing.clone(), None);
        let work = tokio::spawn(work);
        for number in 0..5 * ROOM {
            outbox.send(numbered(number)).await.unwrap();
        }
        closing.cancel();
        work.await.unwrap();
        for number in 0..5 * ROOM {
            assert_eq!(heard.next().await.unwrap().payload, number.to_string());
        }
        let late = outbox.send(numbered(0)).await;
        assert!(matches!(late, Err(CallError::Send(_))), "{late:?}");
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a test listens to the wire")]
    async fn a_call_whose_request_was_never_sent_is_told_from_one_without_an_answer() {
        let mut nats = NatsBox::start().await.unwrap();
        let client = nats.client().await.unwrap();
        let peer = Peer::new(client, PeerConfig::default()).await.unwrap();
        let listener = nats.client().await.unwrap();
        let _silent = listener.subscribe("default.silent.f").await.unwrap();
        taken_in(&listener).await.unwrap();
        let call = |within| {
            let until = Instant::now() + within;
            peer.call(Invocation::new("default.silent.f", until), Bytes::new())
        };
        // Time enough to be sent, on a busy machine too.
        let error = call(Duration::from_secs(2)).await.unwrap_err();
        let is_late = |error: &CallError| matches!(error, CallError::Deadline { .. });
        assert!(
            is_late(&error) && error.reached() == Reached::Maybe,
            "{error}"
        );
        nats.stop();
        let away = async {
            while peer.nats().connection_state() == State::Connected {
                tokio::time::sleep(LOOK).await;
            }
        };
        timeout(LONGEST_WAIT, away).await.unwrap();
        let error = call(Duration::from_millis(300)).await.unwrap_err();
        assert!(
            is_late(&error) && error.reached() == Reached::Never,
            "{error}"
        );
        peer.abandon();
    }

    #[test]
    fn what_is_handed_on_late_keeps_the_proof_of_its_maker() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CALL, "left=60000;turn=3;later=1;proof=abc");
        let now = Instant::now();
        let handed_on = Outgoing {
            headers: Some(headers),
            deadline: Some(now + Duration::from_millis(1500)),
            ..numbered(0)
        };
        let sent = in_time(handed_on, now, true, None).unwrap();
        let told = sent.headers.unwrap();
        let told = told.get(header::CALL).unwrap().as_str();
        let rest = told
            .strip_prefix("left=")
            .and_then(|told| told.split_once(';'));
        let (left, others) = rest.unwrap();
        assert!(left.parse::<u64>().unwrap() <= 1500, "{told}");
        assert_eq!(others, "turn=3;later=1;proof=abc");
    }

    #[tokio::test]
    async fn what_the_server_would_not_take_is_refused_at_once() {
        let options = NatsBoxOptions {
            extra_config: "max_payload: 100\n".to_owned(),
            ..NatsBoxOptions::default()
        };
        let nats = NatsBox::start_with(options).await.unwrap();
        let client = nats.client().await.unwrap();
        let (outbox, _work) = Outbox::new(client, CancellationToken::new(), None);
        let large = Outgoing {
            payload: vec![0; 101].into(),
            ..numbered(0)
        };
        let spaced = Outgoing {
            subject: "a b".into(),
            ..numbered(0)
        };
        for (message, why) in [(large, "101 bytes"), (spaced, "`a b`")] {
            let refused = outbox.send(message).await.unwrap_err();
            assert!(refused.to_string().contains(why), "{refused}");
        }
        outbox.send(numbered(1)).await.unwrap();
    }
}
