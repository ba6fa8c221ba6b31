//! Messages of groups, in order and one at a time.
//!
//! A group belongs to one of sixteen lanes, each with a consumer that gives out one message and waits
//! until it is acknowledged; one that comes again comes before those behind it. So groups of one lane
//! wait for each other, and at most sixteen messages of groups are at work at once. The consumer of a
//! lane is made when a message is found there.
//!
//! # Why a failed message holds up its lane
//!
//! It is the server that keeps the order between all copies of the provider, by giving out nothing of a
//! consumer while one message of it is at work or waits. What it holds back it holds back by consumer, and
//! a consumer cannot leave single subjects out. Two ways were looked at:
//!
//! - A consumer for each group holds groups up singly. Groups are of the component's making, such as one
//!   for each customer, and servers keep every consumer in memory with a write for each step; a bound
//!   on their number would bring lanes back for the rest, and a group that changes from one to the other
//!   would have to be empty first to stay in order.
//! - Failed messages, and those of their groups that come after them, may be moved to a place of their
//!   own. Then the server counts attempts anew, a message is in two streams for a moment and comes twice
//!   when a process dies there, limits and depths have to look at both, and every message of a group asks
//!   first whether its group has something there.
//!
//! Both cost every message of a group more than a lane does, for what a short pause between attempts
//! (`backoff_ms`) and a small number of them (`max_attempts`) bound as well.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::stream::Stream;
use futures::TryStreamExt as _;
use lattice_provider_sdk::chain;
use lattice_provider_sdk::queue::QueueError;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::pull::Puller;
use crate::queue::consumer;

/// How many there are. Every provider has to count the same.
const LANES: u64 = 16;

/// How often to look for lanes that have messages, while none is known to have had any.
pub(crate) const LOOK: Duration = Duration::from_secs(1);
/// And while groups are in use.
pub(crate) const LOOK_IN_USE: Duration = Duration::from_millis(100);
/// After how long without any message groups count as not in use.
const UNUSED: Duration = Duration::from_secs(60);

/// The lanes of one queue.
#[derive(Debug)]
pub(crate) struct Lanes {
    stream: Stream,
    root: String,
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    consumers: HashMap<u64, Puller>,
    looked: Option<Instant>,
    used: Option<Instant>,
    /// Where to begin, so that no lane is always the last one.
    next: u64,
}

impl Lanes {
    pub(crate) fn new(stream: Stream, root: String, patience: Duration) -> Self {
        Self {
            stream,
            root,
            patience,
            state: Mutex::default(),
        }
    }

    /// The subject of a message of the group.
    pub(crate) fn subject(&self, group: &str) -> String {
        self.state.lock().used = Some(Instant::now());
        format!("{}.lane.{}", self.root, lane(group))
    }

    /// How long to wait before the next look.
    pub(crate) fn pause(&self) -> Duration {
        let used = self.state.lock().used;
        match used.is_some_and(|at| at.elapsed() < UNUSED) {
            true => LOOK_IN_USE,
            false => LOOK,
        }
    }

    /// The consumers of the lanes that have messages, unless it was looked just now.
    pub(crate) async fn in_use(&self) -> Result<Vec<Puller>, QueueError> {
        let pause = self.pause();
        let now = Instant::now();
        {
            let mut state = self.state.lock();
            let is_early = state.looked.is_some_and(|at| now < at + pause);
            // While groups are in use every receive looks, since each finds what others have not.
            if is_early && pause == LOOK {
                return Ok(Vec::new());
            }
            state.looked = Some(now);
        }
        let mut found = self.with_messages().await?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        {
            let mut state = self.state.lock();
            state.used = Some(now);
            state.next = (state.next + 1) % LANES;
            let first = state.next;
            found.sort_unstable_by_key(|lane| (lane + LANES - first) % LANES);
        }
        let mut consumers = Vec::with_capacity(found.len());
        for lane in found {
            consumers.push(self.consumer(lane).await?);
        }
        Ok(consumers)
    }

    async fn with_messages(&self) -> Result<Vec<u64>, QueueError> {
        let filter = format!("{}.lane.*", self.root);
        let gone = |error: &dyn std::error::Error| QueueError::unavailable(chain(error));
        let info = self.stream.info_with_subjects(filter).await;
        let mut subjects = info.map_err(|error| gone(&error))?;
        let mut found = Vec::new();
        while let Some((subject, count)) = subjects.try_next().await.map_err(|e| gone(&e))? {
            let lane = subject
                .rsplit('.')
                .next()
                .and_then(|lane| lane.parse().ok());
            if let Some(lane) = lane.filter(|lane| count > 0 && *lane < LANES) {
                found.push(lane);
            }
        }
        Ok(found)
    }

    async fn consumer(&self, lane: u64) -> Result<Puller, QueueError> {
        if let Some(known) = self.state.lock().consumers.get(&lane) {
            return Ok(known.clone());
        }
        let filter = format!("{}.lane.{lane}", self.root);
        let name = format!("lane-{lane}");
        let made = consumer(&self.stream, &name, filter, self.patience, 1).await?;
        self.state.lock().consumers.insert(lane, made.clone());
        Ok(made)
    }

    /// The consumers that are known here.
    pub(crate) async fn known(&self) -> Result<Vec<Puller>, QueueError> {
        for lane in self.with_messages().await? {
            self.consumer(lane).await?;
        }
        Ok(self.state.lock().consumers.values().cloned().collect())
    }
}

/// The lane of a group: the 64-bit FNV-1a hash of its name, of which the remainder counts.
fn lane(group: &str) -> u64 {
    let hash = group.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash % LANES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_those_of_every_provider() {
        // What is stored stays where it is looked for.
        assert_eq!(lane("a"), 0xaf63_dc4c_8601_ec8c % LANES);
        let lanes: std::collections::BTreeSet<_> =
            (0..200).map(|n| lane(&format!("group-{n}"))).collect();
        assert_eq!(lanes.len(), 16);
    }
}
