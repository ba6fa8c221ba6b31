//! Taking messages from a consumer without losing those that come late.
//!
//! A server need not say when it has sent all that it had, so that a pull ends when nothing more has
//! come for a moment. What comes after that, or after the caller has given up, is leased to us all the
//! same: it is kept for the next pull, and let go when there is none.
//!
//! Nor need it say that it has nothing. A request that shall not wait is answered at once while the
//! consumer has no messages left. If it has some, the request is put in a line, and when it finds
//! that all went to those before it, servers before 2.12.2 let it stand there without a word
//! (nats-server pull request 7466). So does every server while a consumer has as many messages at work
//! as it may have. Such requests have an end, after which they get nothing. Servers tell of that too, but
//! for those of 2.9, which forget it where their clock wakes them a moment before it: who hears nothing of
//! an end finds out that the server is there, and takes it as told.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the inboxes that messages are sent to"
)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::{Message, StatusCode, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use lattice_provider_sdk::chain;
use lattice_provider_sdk::queue::QueueError;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::wire::{ANSWER_LIMIT, REASON_LIMIT, Wire};

/// How long the rest of what a server has ready may take to arrive after the message before it.
const QUIET: Duration = Duration::from_millis(20);

/// How long a server is given to look for messages that may not tell that it has none.
pub(crate) const LOOK: Duration = Duration::from_millis(150);
/// And for those of groups, of which many are at work while others are received.
pub(crate) const LOOK_IN_LANES: Duration = Duration::from_millis(50);
/// And at least, where the time of a caller runs out or many are asked one after the other.
pub(crate) const SHORT_LOOK: Duration = Duration::from_millis(20);

/// How much later than its end a request may be answered, before the server is asked whether it is there.
const OVERDUE: Duration = Duration::from_millis(100);

/// How long late messages are waited for, and then kept for the next pull. Together shorter than the
/// slack that consumers give.
const LATE: Duration = Duration::from_secs(2);

/// How many bytes one pull asks for, besides one message of any size.
const BYTES_AT_ONCE: usize = 16 << 20;

type Late = Arc<Mutex<VecDeque<Message>>>;

/// A consumer that messages are taken from. Clones share what has come late.
#[derive(Debug, Clone)]
pub(crate) struct Puller {
    pub(crate) consumer: PullConsumer,
    late: Late,
    /// Whether it gives no more than so many at once.
    is_bounded: bool,
}

/// How a request waits.
#[derive(Debug, Clone, Copy)]
enum Waits {
    /// Not at all.
    Not,
    /// For all that it asks for.
    ForAll(Duration),
    /// For the first message, with which those come that are there by then.
    ForFirst(Duration),
}

impl Waits {
    /// For how long.
    fn time(self) -> Option<Duration> {
        match self {
            Self::Not => None,
            Self::ForAll(time) | Self::ForFirst(time) => Some(time),
        }
    }
}

impl Puller {
    pub(crate) fn new(consumer: PullConsumer) -> Self {
        Self {
            is_bounded: consumer.cached_info().config.max_ack_pending > 0,
            consumer,
            late: Late::default(),
        }
    }

    /// Takes messages that are ready now, or waits for the first one and takes what is ready then.
    /// `look` is for how long a server looks that would not tell that there are none.
    pub(crate) async fn pull(
        &self,
        wire: &Wire,
        max: usize,
        wait: Duration,
        look: Duration,
    ) -> Result<Vec<Message>, QueueError> {
        let kept = self.kept(max);
        if !kept.is_empty() {
            return Ok(kept);
        }
        let until = Instant::now() + wait;
        let is_told = !self.is_bounded && wire.tells_of_nothing();
        let first = match is_told {
            true => Waits::Not,
            false => Waits::ForFirst(wait.max(look)),
        };
        let got = self.pull_or_kept(wire, max, first).await?;
        let left = until.saturating_duration_since(Instant::now());
        if !got.is_empty() || left < SHORT_LOOK {
            return Ok(got);
        }
        // Nothing is there, or others are in line for it.
        let mut got = self.pull_or_kept(wire, 1, Waits::ForAll(left)).await?;
        if !got.is_empty() && max > 1 && is_told {
            // What came first is not lost when asking for more fails.
            let more = self.pull_once(wire, max - 1, Waits::Not).await;
            got.extend(more.unwrap_or_default());
        }
        Ok(got)
    }

    /// What has come late.
    fn kept(&self, max: usize) -> Vec<Message> {
        let mut late = self.late.lock();
        let count = late.len().min(max);
        late.drain(..count).collect()
    }

    /// As [`Puller::pull_once`], and when nothing comes, what a request before it was given meanwhile:
    /// one that has got less than it asked for may be in line before this one for a moment.
    async fn pull_or_kept(
        &self,
        wire: &Wire,
        max: usize,
        waits: Waits,
    ) -> Result<Vec<Message>, QueueError> {
        let got = self.pull_once(wire, max, waits).await?;
        Ok(match got.is_empty() {
            true => self.kept(max),
            false => got,
        })
    }

    async fn pull_once(
        &self,
        wire: &Wire,
        max: usize,
        waits: Waits,
    ) -> Result<Vec<Message>, QueueError> {
        let gone = |error: &dyn std::fmt::Display| QueueError::unavailable(error.to_string());
        let inbox = wire.nats.new_inbox();
        let reply = inbox.clone().into();
        let answers = wire.nats.subscribe(inbox).await.map_err(|e| gone(&e))?;
        let mut pulling = Pulling {
            answers: Some(answers),
            due: max,
            got: Vec::new(),
            wait: waits.time().unwrap_or_default(),
            late: Arc::clone(&self.late),
            wire: wire.clone(),
            asked_over: wire.connections(),
            is_bounded: self.is_bounded,
        };
        let request = BatchConfig {
            batch: max,
            expires: waits.time(),
            no_wait: !matches!(waits, Waits::ForAll(_)),
            max_bytes: BYTES_AT_ONCE + wire.max_payload(),
            ..BatchConfig::default()
        };
        let asked = self.consumer.request_batch(request, reply).await;
        asked.map_err(|e| gone(&e))?;
        let ended = pulling.run(&self.consumer).await;
        match ended {
            // What has come is leased to us, so it is returned even when there is an error behind it.
            Err(error) if pulling.got.is_empty() => Err(error),
            _ => Ok(std::mem::take(&mut pulling.got)),
        }
    }
}

/// One request for messages under way. When it is dropped before its end, the rest is looked after.
struct Pulling {
    answers: Option<Subscriber>,
    /// How many more may come.
    due: usize,
    got: Vec<Message>,
    wait: Duration,
    late: Late,
    wire: Wire,
    /// The connection over which it was asked.
    asked_over: u64,
    /// Whether the consumer gives no more than so many at once, as those of lanes do.
    is_bounded: bool,
}

impl Pulling {
    async fn run(&mut self, consumer: &PullConsumer) -> Result<(), QueueError> {
        let mut limit = match self.wait {
            Duration::ZERO => ANSWER_LIMIT,
            wait => wait + OVERDUE,
        };
        while self.due > 0 {
            let Some(answers) = &mut self.answers else {
                break;
            };
            let next = self.wire.answer(self.asked_over, limit, answers.next());
            let answer = match next.await {
                Some(Some(answer)) => answer,
                Some(None) => {
                    self.due = 0;
                    return Err(QueueError::unavailable("the connection to NATS has ended"));
                }
                None if !self.got.is_empty() => break,
                None => return self.unanswered(consumer).await,
            };
            match ended(&answer) {
                None => {
                    self.due -= 1;
                    self.got.push(answer);
                    limit = QUIET;
                }
                Some(how) => {
                    self.due = 0;
                    return match how {
                        // Of a lane nobody wants to know, and others wait behind it.
                        Err(QueueError::NoSuchQueue) if !self.is_bounded => {
                            Err(self.unasked(consumer).await)
                        }
                        how => how,
                    };
                }
            }
        }
        Ok(())
    }

    /// Why nobody hears requests for messages.
    async fn unasked(&self, consumer: &PullConsumer) -> QueueError {
        let info = consumer.cached_info();
        self.wire.unasked(&info.stream_name, &info.name).await
    }

    /// Whether it is only the word of the end that is missing, or all is late over a slow line.
    async fn unanswered(&mut self, consumer: &PullConsumer) -> Result<(), QueueError> {
        let has_end = !self.wait.is_zero();
        if has_end && self.wire.connections() == self.asked_over {
            let asked = consumer.get_info();
            // Others wait behind a lane.
            let limit = match self.is_bounded {
                true => REASON_LIMIT,
                false => ANSWER_LIMIT,
            };
            let answer = self.wire.answer(self.asked_over, limit, asked);
            match answer.await {
                Some(Ok(_)) => {
                    self.take_what_came();
                    return Ok(());
                }
                Some(Err(error)) => return Err(QueueError::unavailable(chain(&error))),
                None => {}
            }
        }
        Err(QueueError::unavailable(
            "NATS did not say in time whether there are messages",
        ))
    }

    /// Takes what has come by now. The request has ended where the server answers what was asked
    /// after it, and what it gave came before that answer.
    fn take_what_came(&mut self) {
        while self.due > 0
            && let Some(answers) = &mut self.answers
            && let Some(Some(answer)) = answers.next().now_or_never()
        {
            match ended(&answer) {
                None => {
                    self.due -= 1;
                    self.got.push(answer);
                }
                Some(_) => self.due = 0,
            }
        }
    }
}

impl Drop for Pulling {
    fn drop(&mut self) {
        let mut late = std::mem::take(&mut self.got);
        let answers = self.answers.take().filter(|_| self.due > 0);
        if late.is_empty() && answers.is_none() {
            return;
        }
        let (wire, kept, limit) = (self.wire.clone(), Arc::clone(&self.late), self.wait + LATE);
        let due = self.due;
        // It ends soon after the server has given the request up.
        tokio::spawn(async move {
            kept.lock().extend(late.iter().cloned());
            if let Some(answers) = answers {
                late.extend(stragglers(answers, due, limit, &kept).await);
            }
            if late.is_empty() {
                return;
            }
            tokio::time::sleep(LATE).await;
            for message in late {
                let is_left = take_out(&kept, &message);
                if let Some(ack) = message.reply.filter(|_| is_left) {
                    wire.let_go(&ack).await;
                }
            }
        });
    }
}

/// Keeps what comes until nothing more can.
async fn stragglers(
    mut answers: Subscriber,
    mut due: usize,
    limit: Duration,
    kept: &Late,
) -> Vec<Message> {
    let until = Instant::now() + limit;
    let mut late = Vec::new();
    while due > 0
        && let Ok(Some(answer)) = tokio::time::timeout_at(until, answers.next()).await
        && ended(&answer).is_none()
    {
        due -= 1;
        kept.lock().push_back(answer.clone());
        late.push(answer);
    }
    late
}

/// Whether a message was still kept, which it is not any more.
fn take_out(kept: &Late, message: &Message) -> bool {
    let mut kept = kept.lock();
    let at = kept.iter().position(|known| known.reply == message.reply);
    at.and_then(|at| kept.remove(at)).is_some()
}

/// What an answer that is no message says of the request, which ends with it.
fn ended(answer: &Message) -> Option<Result<(), QueueError>> {
    let status = answer.status.filter(|status| *status != StatusCode::OK)?;
    let why = answer.description.as_deref().unwrap_or("no reason given");
    let why = format!("NATS gives no messages: {why} ({status})");
    Some(match status {
        StatusCode::NOT_FOUND | StatusCode::TIMEOUT => Ok(()),
        StatusCode::NO_RESPONDERS => Err(QueueError::NoSuchQueue),
        // The consumer was deleted, or there are too many requests, or as many messages at work as
        // there may be, which is said of a lane whose message somebody has.
        status if status.as_u16() == 409 => match why.contains("MaxAckPending") {
            true => Ok(()),
            false => Err(QueueError::unavailable(why)),
        },
        _ => Err(QueueError::other(why)),
    })
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::consumer::pull;
    use async_nats::jetstream::{self, stream};
    use lattice_nats_box::{NatsBox, taken_in};

    use super::*;
    use crate::wire::RealDomains;

    #[tokio::test]
    async fn a_lane_of_which_nothing_is_heard_holds_up_others_for_a_moment() {
        let server = NatsBox::start().await.unwrap();
        let nats = server.client().await.unwrap();
        let config = stream::Config {
            name: "s".to_owned(),
            ..stream::Config::default()
        };
        let direct = jetstream::new(nats.clone());
        direct.create_stream(config).await.unwrap();
        // Somebody passes the first question on, and does not answer those after it.
        let mut asked = nats.subscribe("$JS.mute.API.>").await.unwrap();
        taken_in(&nats).await.unwrap();
        let jetstream = jetstream::with_domain(nats.clone(), "mute");
        let config = pull::Config {
            durable_name: Some("lane".to_owned()),
            max_ack_pending: 1,
            ..pull::Config::default()
        };
        let made = jetstream.create_consumer_on_stream(config, "s");
        let passed = async {
            let question = asked.next().await.unwrap();
            let to = question.subject.replace("$JS.mute.", "$JS.");
            let reply = question.reply.unwrap();
            let sent = nats.publish_with_reply(to, reply, question.payload);
            sent.await.unwrap();
        };
        let (made, ()) = tokio::join!(made, passed);
        let lane = Puller::new(made.unwrap());
        let wire = Wire {
            nats,
            jetstream,
            domain: None,
            real: RealDomains::default(),
        };
        let begun = Instant::now();
        let got = lane.pull(&wire, 1, Duration::ZERO, LOOK_IN_LANES).await;
        assert!(matches!(got, Err(QueueError::Unavailable(_))), "{got:?}");
        assert!(begun.elapsed() < ANSWER_LIMIT, "{:?}", begun.elapsed());
    }
}
