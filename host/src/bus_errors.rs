//! What the NATS server refuses this host, said by the server on the connections of the host. The client
//! goes on as if nothing were: a subscription that is refused just stays silent.

mod said;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_nats::ServerError;
use lattice_core::HostId;
use lattice_core::event::{BusRefused, Event};
use lattice_core::subject::event;
use lattice_rpc::throttle::LogThrottle;
use lattice_rpc::throttle::{Reports, forward_throttled};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::bus_log::Report;
use crate::events::Events;

/// How many reports may wait.
const WAITING: usize = 256;
/// How many refused subscriptions are remembered, for those who have just subscribed.
const REMEMBERED: usize = 256;

/// For how long the same refusal is not told again: what the host lacks it tries again and again.
const TOLD_FOR: Duration = Duration::from_secs(600);
/// How many refusals that were told are remembered; of more than these at once all are told.
const MOST_TOLD: usize = 1024;

/// Hears what the server says, and tells of it.
#[derive(Debug)]
pub(crate) struct BusErrors {
    refused: Mutex<RefusedSubscriptions>,
    /// When what was told, by action and subject.
    told: Mutex<HashMap<(String, String), Instant>>,
    reports: Reports<Report>,
    /// Of the lines about everything else.
    others: LogThrottle,
    /// Of the lines about messages that were dropped, of which there is one for each.
    dropped: LogThrottle,
    told_to: Arc<OnceLock<(HostId, Arc<Events>)>>,
    _telling: AbortOnDropHandle<()>,
}

/// Subscriptions that were refused, the last ones with their numbers.
#[derive(Debug, Default)]
struct RefusedSubscriptions {
    count: u64,
    last: VecDeque<(u64, String)>,
}

/// A point in time: what is refused from then on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(u64);

impl BusErrors {
    pub(crate) fn start() -> Arc<Self> {
        let (reports, coming) = mpsc::channel(WAITING);
        let told_to = Arc::<OnceLock<_>>::default();
        let listeners = Arc::clone(&told_to);
        let telling = tokio::spawn(forward_throttled(coming, move |Report(refused): Report| {
            tell(refused, &listeners);
        }));
        Arc::new(Self {
            refused: Mutex::default(),
            told: Mutex::default(),
            reports: Reports::new(reports),
            others: LogThrottle::default(),
            dropped: LogThrottle::default(),
            told_to,
            _telling: AbortOnDropHandle::new(telling),
        })
    }

    /// Makes events of it from now on; before, and without, it only stands in the log.
    pub(crate) fn tell_to(&self, host: HostId, events: Arc<Events>) {
        let _told_before = self.told_to.set((host, events));
    }

    /// Takes in what the server said on a connection.
    pub(crate) fn hear(&self, purpose: &'static str, error: &ServerError) {
        let text = error.to_string();
        let Some(refused) = said::read(&text) else {
            if let Some(untold) = self.others.turn() {
                tracing::warn!(purpose, untold, "the NATS server complains: {text}");
            }
            return;
        };
        if refused.action == "subscribe" {
            self.refused.lock().add(&refused.subject);
        }
        if self.is_news(&refused) {
            self.reports.send(Report(refused));
        }
    }

    fn is_news(&self, refused: &BusRefused) -> bool {
        let now = Instant::now();
        let mut told = self.told.lock();
        told.retain(|_, at| now.duration_since(*at) < TOLD_FOR);
        let what = (refused.action.clone(), refused.subject.clone());
        if told.contains_key(&what) {
            return false;
        }
        if told.len() < MOST_TOLD {
            told.insert(what, now);
        }
        true
    }

    /// A message was dropped here, because those before it are read too slowly. Whoever sends many
    /// brings that about.
    pub(crate) fn dropped(&self, purpose: &'static str, subscription: u64) {
        if let Some(untold) = self.dropped.turn() {
            let line = "messages were dropped: read too slowly";
            tracing::error!(purpose, subscription, untold, "{line}");
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark(self.refused.lock().count)
    }

    /// The first of these subjects to which a subscription was refused since `mark`.
    ///
    /// The caller has seen that the server knows its subscriptions. What it said of them has arrived
    /// then, too, but the client hands it on in a task of its own, which is let go first.
    pub(crate) async fn refused_since<'a>(
        &self,
        mark: Mark,
        subjects: impl Iterator<Item = &'a str>,
    ) -> Option<&'a str> {
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        let refused = self.refused.lock();
        let mut subjects = subjects;
        subjects.find(|subject| refused.has(mark, subject))
    }
}

impl RefusedSubscriptions {
    fn add(&mut self, subject: &str) {
        if self.last.len() == REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back((self.count, subject.to_owned()));
        self.count += 1;
    }

    fn has(&self, since: Mark, subject: &str) -> bool {
        let later = self.last.iter().rev();
        let mut later = later.take_while(|(number, _)| *number >= since.0);
        later.any(|(_, refused)| refused == subject)
    }
}

fn tell(refused: BusRefused, told_to: &OnceLock<(HostId, Arc<Events>)>) {
    let BusRefused {
        action,
        subject,
        suppressed,
        ..
    } = &refused;
    tracing::warn!(
        action,
        subject,
        suppressed,
        "the NATS server refused this host a subject"
    );
    // That events are refused is nothing to make events of.
    let is_event = action == "publish" && event::parse(subject).is_some();
    if let (Some((host, events)), false) = (told_to.get(), is_event) {
        events.publish(Event::BusRefused(BusRefused {
            host_id: host.as_str().to_owned(),
            ..refused
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::logged::lines;

    #[tokio::test(start_paused = true)]
    async fn what_anybody_can_cause_fills_no_log() {
        let bus = BusErrors::start();
        let complaint = ServerError::Other("Maximum Payload Violation".to_owned());
        let written = lines(|| {
            for _ in 0..1000 {
                bus.dropped("calls", 1);
                bus.hear("calls", &complaint);
            }
        });
        assert_eq!(written, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_again_and_again_is_news_from_time_to_time() {
        let bus = BusErrors::start();
        let refused = |subject: &str| BusRefused {
            subject: subject.to_owned(),
            ..BusRefused::default()
        };
        let news = |subject| bus.is_news(&refused(subject));
        assert_eq!([news("a"), news("a"), news("b")], [true, false, true]);
        tokio::time::advance(TOLD_FOR).await;
        assert!(news("a"));
    }

    #[tokio::test]
    async fn a_refusal_before_the_mark_does_not_count() {
        let bus = BusErrors::start();
        let refuse = |subject: &str| {
            let text = format!(r#"Permissions Violation for Subscription to "{subject}""#);
            bus.hear("calls", &ServerError::Other(text));
        };
        refuse("a");
        let mark = bus.mark();
        let refused = async || bus.refused_since(mark, ["a", "b"].into_iter()).await;
        assert_eq!(refused().await, None);
        refuse("b");
        assert_eq!(refused().await, Some("b"));
        (0..REMEMBERED).for_each(|_| refuse("c"));
        assert_eq!(bus.refused.lock().last.len(), REMEMBERED);
    }
}
