//! The calls that come while the connection of a provider is made again.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use async_nats::{Client, HeaderMap, HeaderName, HeaderValue, Message, Subscriber};
use futures::StreamExt as _;
use lattice_rpc::header::{CALL, Terms};
use tokio::time::Instant;

use crate::error::BoxError;

/// How much of them is kept, in bytes, and how much one counts beside its parameters.
const MOST_BYTES: usize = 64 * 1024 * 1024;
const OF_EACH: usize = 1024;

/// The term of a call that tells how much of its time is left.
const LEFT: &str = "left=";

/// Calls in the order in which they came.
pub(super) struct WaitingCalls {
    incoming: Subscriber,
    /// How long those may take that do not say it.
    default_time: Duration,
    came: VecDeque<WaitingCall>,
    bytes: usize,
    /// How many there was no room for.
    lost: usize,
}

/// One that was taken in.
pub(super) struct WaitingCall {
    call: Message,
    /// When its caller does not wait any more.
    until: Instant,
}

impl WaitingCalls {
    pub(super) fn new(incoming: Subscriber, default_time: Duration) -> Self {
        Self {
            incoming,
            default_time,
            came: VecDeque::new(),
            bytes: 0,
            lost: 0,
        }
    }

    /// Takes calls in while something is done: their time counts from when they came.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                Some(call) = self.incoming.next() => self.take(call),
            }
        }
    }

    fn take(&mut self, call: Message) {
        let size = size_of(&call);
        if self.bytes + size > MOST_BYTES {
            let now = Instant::now();
            self.came.retain(|taken| taken.until > now);
            self.bytes = self.came.iter().map(|taken| size_of(&taken.call)).sum();
        }
        if self.bytes + size > MOST_BYTES {
            self.lost += 1;
            return;
        }
        self.bytes += size;
        let taken = self.timed(call);
        self.came.push_back(taken);
    }

    fn timed(&self, call: Message) -> WaitingCall {
        let told = call.headers.as_ref().and_then(Terms::of);
        let left = told
            .and_then(|terms| terms.left)
            .unwrap_or(self.default_time);
        let now = Instant::now();
        WaitingCall {
            // What is too far away for a clock gets the default.
            until: now.checked_add(left).unwrap_or(now + self.default_time),
            call,
        }
    }

    /// Takes no more in. What has come, and what is on its way, is still there.
    pub(super) async fn stop_taking(&mut self) -> Result<(), BoxError> {
        if self.lost > 0 {
            let lost = self.lost;
            tracing::warn!(lost, "there was no room for all calls of the meantime");
        }
        Ok(self.incoming.drain().await?)
    }

    pub(super) async fn next(&mut self) -> Option<WaitingCall> {
        if let Some(taken) = self.came.pop_front() {
            return Some(taken);
        }
        let call = self.incoming.next().await?;
        Some(self.timed(call))
    }
}

fn size_of(call: &Message) -> usize {
    call.length + OF_EACH
}

impl WaitingCall {
    /// Hands it on with what is left of its time, and says whether there is any.
    pub(super) async fn hand_on(self, client: &Client) -> Result<bool, BoxError> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.as_millis() == 0 {
            return Ok(false);
        }
        let call = self.call;
        let mut headers = call.headers.unwrap_or_default();
        write_left(&mut headers, left);
        let (subject, payload) = (call.subject, call.payload);
        match call.reply {
            Some(reply) => {
                let sent = client.publish_with_reply_and_headers(subject, reply, headers, payload);
                sent.await?;
            }
            None => {
                client
                    .publish_with_headers(subject, headers, payload)
                    .await?;
            }
        }
        Ok(true)
    }
}

/// Has a call tell what is left, as far as it tells that. All else stays, with the proof that goes with
/// it and leaves this out.
fn write_left(headers: &mut HeaderMap, left: Duration) {
    let value = headers.get(HeaderName::from_static(CALL));
    let text = value.and_then(|value| with_left(value.as_str(), left));
    if let Some(text) = text {
        headers.insert(HeaderName::from_static(CALL), HeaderValue::from(text));
    }
}

fn with_left(value: &str, left: Duration) -> Option<String> {
    let told = value.strip_prefix(LEFT)?;
    let others = told.find(';').map_or("", |at| &told[at..]);
    Some(format!("{LEFT}{}{others}", left.as_millis()))
}
