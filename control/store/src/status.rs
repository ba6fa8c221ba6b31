//! What the ends of links report, in a bucket that 1.9 peers do not know.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lattice_core::subject::store::{link_status_key, parse_link_status_key};
use lattice_core::{ComponentId, HostId, Link, LinkKey, LinkStatus};
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::bucket::Bucket;
use crate::error::StoreError;
use crate::raw_watch;
use crate::told;

/// How long an answer to `link.get` waits for the states, as long as this process has neither read nor
/// written any: permissions made for 1.9 do not name the bucket, and NATS leaves unanswered what it
/// forbids.
const FIRST_READ: Duration = Duration::from_millis(300);
/// And then, when what takes long is that there are many. Clients wait two seconds.
const READ: Duration = Duration::from_secs(1);
/// For how long answers go without states after they could not be read.
const LEFT_OUT_FOR: Duration = Duration::from_secs(3);

/// The states of all links.
type States = HashMap<LinkKey, Vec<LinkStatus>>;

/// What a read tells those who wait for it: nothing before it has ended.
type Told = Option<Arc<States>>;

/// How reading the states for answers went.
#[derive(Debug, Default)]
struct Reading {
    /// Whether the bucket is known to be in reach of this process.
    is_ours: bool,
    not_before: Option<Instant>,
    /// The read that is under way.
    under_way: Option<watch::Receiver<Told>>,
}

/// Who reads: of those who want the states at the same time the first.
enum Turn {
    First(watch::Sender<Told>),
    Later(watch::Receiver<Told>),
}

impl Reading {
    fn turn(&mut self) -> Turn {
        if let Some(under_way) = &self.under_way {
            return Turn::Later(under_way.clone());
        }
        let (told, under_way) = watch::channel(None);
        self.under_way = Some(under_way);
        Turn::First(told)
    }

    /// How long the next read may take, if it is time for one.
    fn within(&self) -> Option<Duration> {
        let is_time = self.not_before.is_none_or(|time| time <= Instant::now());
        is_time.then_some(if self.is_ours { READ } else { FIRST_READ })
    }

    fn note(&mut self, has_worked: bool, took: Duration) {
        self.is_ours |= has_worked;
        // What takes longer would come too late for the next answer, too.
        match has_worked && took < READ {
            true => self.not_before = None,
            false => self.put_off(),
        }
    }

    fn put_off(&mut self) {
        self.not_before = Some(Instant::now() + LEFT_OUT_FOR);
    }
}

/// Notes that a read is no longer under way when it ends, in whatever way.
struct UnderWay(Arc<Mutex<Reading>>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.lock().under_way = None;
    }
}

/// The states of links, one record per link, end and host.
///
/// Records age: hosts write theirs anew from time to time (see [`crate::StatusReporter`]), and
/// what a lost host left behind disappears by itself.
#[derive(Debug, Clone)]
pub struct StatusStore {
    bucket: Arc<Bucket>,
    reading: Arc<Mutex<Reading>>,
}

impl StatusStore {
    pub(crate) fn new(bucket: Arc<Bucket>) -> Self {
        let reading = Arc::default();
        Self { bucket, reading }
    }

    /// Stores the state of a link at one end.
    ///
    /// # Errors
    ///
    /// Fails when the endpoint is not an entity id or the store does not answer.
    pub async fn put(&self, link: &LinkKey, status: &LinkStatus) -> Result<(), StoreError> {
        let endpoint = ComponentId::new(&status.endpoint)?;
        let key = link_status_key(link, &endpoint, &status.host_id);
        let value = serde_json::to_vec(status).map_err(|source| StoreError::Encode {
            key: key.clone(),
            source,
        })?;
        self.bucket.put(&key, Bytes::from(value)).await?;
        // Who may write there may read there.
        self.reading.lock().is_ours = true;
        Ok(())
    }

    /// Removes the state of a link at one end on one host.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer.
    pub async fn delete(
        &self,
        link: &LinkKey,
        endpoint: &ComponentId,
        host_id: &str,
    ) -> Result<(), StoreError> {
        self.bucket
            .purge(&link_status_key(link, endpoint, host_id))
            .await
    }

    /// The ends of which states of a host are stored; none where there is no bucket yet.
    pub(crate) async fn ends_on(
        &self,
        host: &HostId,
    ) -> Result<Vec<(LinkKey, ComponentId)>, StoreError> {
        if !self.bucket.find().await? {
            return Ok(Vec::new());
        }
        // The host is the last of the seven tokens of a key.
        let keys = format!("*.*.*.*.*.*.{}", host.as_str());
        let records = raw_watch::snapshot_of(&self.bucket, &keys).await?;
        // Who reads this can read the others.
        self.reading.lock().is_ours = true;
        let ends = records.iter().filter_map(|record| {
            let (link, endpoint, _) = parse_link_status_key(&record.key)?;
            Some((link, endpoint))
        });
        Ok(ends.collect())
    }

    /// When the bucket was created, which tells it from one that has taken its place.
    pub(crate) async fn created(&self) -> Result<OffsetDateTime, StoreError> {
        let opened = self.bucket.open().await?;
        Ok(opened.store.stream.cached_info().created)
    }

    /// How often the connection to NATS was made.
    pub(crate) fn connects(&self) -> u64 {
        raw_watch::connects(&self.bucket)
    }

    /// Reads the states of all links.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer.
    pub async fn all(&self) -> Result<HashMap<LinkKey, Vec<LinkStatus>>, StoreError> {
        let mut states = States::new();
        for record in raw_watch::snapshot(&self.bucket).await? {
            let link = parse_link_status_key(&record.key).map(|(link, ..)| link);
            match (link, serde_json::from_slice(&record.value)) {
                (Some(link), Ok(status)) => states.entry(link).or_default().push(status),
                _ => {
                    if let Some(untold) = told::turn(&record.key) {
                        let key = &record.key;
                        tracing::warn!(key, untold, "unreadable link state, ignored");
                    }
                }
            }
        }
        Ok(states)
    }

    /// Fills in the states of `links`, for the answer to `link.get`. It is sooner given without
    /// states than late.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer in time; the links are as before then, and stay so
    /// without an error if this is called again within a few seconds.
    pub async fn attach(&self, links: &mut [Link]) -> Result<(), StoreError> {
        // A statement of its own: the guard must not live across the await.
        let within = self.reading.lock().within();
        let Some(within) = within else {
            return Ok(());
        };
        let Some(states) = self.all_within(within).await? else {
            return Ok(());
        };
        for link in links {
            let Ok(key) = link.key() else { continue };
            let ends = [&link.source_id, &link.target];
            // Links of one key may go to several targets, each with ends of its own.
            let mut own: Vec<LinkStatus> = states
                .get(&key)
                .into_iter()
                .flatten()
                .filter(|status| ends.contains(&&status.endpoint))
                .cloned()
                .collect();
            own.sort_by(|a, b| (&a.endpoint, &a.host_id).cmp(&(&b.endpoint, &b.host_id)));
            link.status = own;
        }
        Ok(())
    }

    /// Reads the states, or waits for those of a read that is under way. None when that one fails: why is
    /// told to whoever has begun it.
    async fn all_within(&self, within: Duration) -> Result<Option<Arc<States>>, StoreError> {
        // A statement of its own: the guard must not live across the await.
        let turn = self.reading.lock().turn();
        match turn {
            Turn::First(told) => {
                if let Ok(Ok(states)) = timeout(within, self.read(told)).await {
                    return states.map(Some);
                }
            }
            Turn::Later(mut told) => {
                let told = timeout(within, told.wait_for(Option::is_some)).await;
                if let Ok(told) = told {
                    return Ok(told.ok().and_then(|states| states.clone()));
                }
            }
        }
        self.reading.lock().put_off();
        let bucket = self.bucket.name().to_owned();
        Err(StoreError::Timeout { bucket, within })
    }

    /// Reads the states, and goes on with that when it takes too long for an answer: far from JetStream it
    /// tells all the same that the bucket is in reach, and leaves it open for the next time.
    fn read(&self, told: watch::Sender<Told>) -> JoinHandle<Result<Arc<States>, StoreError>> {
        let store = self.clone();
        let under_way = UnderWay(Arc::clone(&self.reading));
        tokio::spawn(async move {
            let _under_way = under_way;
            let begun = Instant::now();
            let states = store.all().await.map(Arc::new);
            let has_worked = states.is_ok();
            store.reading.lock().note(has_worked, begun.elapsed());
            if let Ok(states) = &states {
                told.send_replace(Some(Arc::clone(states)));
            }
            states
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use lattice_core::LatticeName;
    use lattice_nats_box::{NatsBox, NatsBoxOptions};

    use crate::{LatticeStore, StoreOptions};

    /// What is needed by hosts of 1.9, and nothing more.
    const PERMISSIONS_OF_1_9: &str = r#"
        authorization { default_permissions: { publish: {
            deny: ["$JS.API.*.*.KV_LATTICESTATUS_default", "$JS.API.*.*.KV_LATTICESTATUS_default.>"]
        } }, users: [{ user: a, password: a }] }
        no_auth_user: a"#;

    #[tokio::test]
    async fn links_are_told_soon_where_their_states_may_not_be_read() {
        let nats = NatsBox::start_with(NatsBoxOptions {
            extra_config: PERMISSIONS_OF_1_9.to_owned(),
            ..NatsBoxOptions::default()
        });
        let nats = nats.await.unwrap();
        let client = nats.client().await.unwrap();
        let lattice = LatticeName::default();
        let store = LatticeStore::open(client, &lattice, StoreOptions::default());
        let store = store.await.unwrap();
        let started = Instant::now();
        let error = store.status().attach(&mut []).await.unwrap_err();
        assert!(matches!(error, StoreError::Timeout { .. }), "{error:?}");
        assert!(started.elapsed() < StoreOptions::default().request_timeout);
        let started = Instant::now();
        assert!(store.status().attach(&mut []).await.is_ok());
        assert!(started.elapsed() < FIRST_READ);
    }

    #[tokio::test]
    async fn answers_do_not_begin_a_second_read_while_one_takes_long() {
        let nats = NatsBox::start_with(NatsBoxOptions {
            extra_config: PERMISSIONS_OF_1_9.to_owned(),
            ..NatsBoxOptions::default()
        });
        let nats = nats.await.unwrap();
        let client = nats.client().await.unwrap();
        let lattice = LatticeName::default();
        // The read goes on for longer than the test.
        let options = StoreOptions {
            request_timeout: Duration::from_secs(600),
            ..StoreOptions::default()
        };
        let store = LatticeStore::open(client, &lattice, options).await.unwrap();
        let status = store.status();
        let (one, other) = futures::join!(status.attach(&mut []), status.attach(&mut []));
        assert!(matches!(one, Err(StoreError::Timeout { .. })), "{one:?}");
        assert!(
            matches!(other, Err(StoreError::Timeout { .. })),
            "{other:?}"
        );
        // Each read has a handle of its own.
        let handles = Arc::strong_count(&status.reading);
        status.reading.lock().not_before = None;
        let error = status.attach(&mut []).await.unwrap_err();
        assert!(matches!(error, StoreError::Timeout { .. }), "{error:?}");
        assert_eq!(Arc::strong_count(&status.reading), handles);
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_be_read_is_tried_again_after_a_while() {
        let mut reading = Reading::default();
        assert_eq!(reading.within(), Some(FIRST_READ));
        reading.note(false, FIRST_READ);
        assert_eq!(reading.within(), None);
        tokio::time::advance(LEFT_OUT_FOR).await;
        assert_eq!(reading.within(), Some(FIRST_READ));
        reading.put_off();
        reading.note(true, FIRST_READ);
        assert_eq!(reading.within(), Some(READ));
        reading.note(true, READ);
        assert_eq!(reading.within(), None);
    }

    #[tokio::test]
    async fn who_has_read_its_own_states_may_read_for_longer() {
        let nats = NatsBox::start().await.unwrap();
        let client = nats.client().await.unwrap();
        let lattice = LatticeName::default();
        let store = LatticeStore::open(client, &lattice, StoreOptions::default());
        let store = store.await.unwrap();
        let host = HostId::new(format!("N{}", "A".repeat(55))).unwrap();
        // There is no bucket yet.
        assert!(store.status().ends_on(&host).await.unwrap().is_empty());
        assert_eq!(store.status().reading.lock().within(), Some(FIRST_READ));
        assert!(store.status().all().await.unwrap().is_empty());
        assert!(store.status().ends_on(&host).await.unwrap().is_empty());
        assert_eq!(store.status().reading.lock().within(), Some(READ));
    }
}
