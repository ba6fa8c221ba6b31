//! Watching a store that tells nobody of changes: it is looked at again and again.
//!
//! Of a key that changed several times between two looks the last change is told. Which version of
//! each key was told is written down in the store, so that a provider that was away goes on from
//! there.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use lattice_core::keyvalue::Versioned;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Change, ChangeNotifier, LONGEST_PAUSE, PAUSE};
use crate::Backoff;

/// The pause between two looks, at least.
const EVERY: Duration = Duration::from_millis(200);
/// How many times as long as a look the pause after it is, at least: a bound of what looking costs.
const REST: u32 = 10;
/// How many versions are written down at once.
const AT_ONCE: usize = 500;
/// The version of what is not there.
const ABSENT: &str = "absent";

/// For how long it is remembered what was told: two weeks.
pub const REMEMBERED: Duration = Duration::from_secs(14 * 24 * 3600);
/// How often all that was told is written down again, so that the two weeks are those of a provider
/// that is away, and not those of a key that does not change.
const AGAIN: Duration = Duration::from_secs(24 * 3600);
/// After how long that is tried anew, when the store was read but not written.
const AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(300);

/// A store that is looked at.
pub trait Scan: Send + Sync + 'static {
    /// Why it could not be.
    type Error: Display + Send;

    /// The versions of those of the keys that are there.
    fn versions(
        &self,
        keys: &[String],
    ) -> impl Future<Output = Result<HashMap<String, String>, Self::Error>> + Send;

    /// What a key holds now.
    fn read(&self, key: &str) -> impl Future<Output = Result<Versioned, Self::Error>> + Send;

    /// The versions that were written down of those of the keys that were told.
    fn told(
        &self,
        keys: &[String],
    ) -> impl Future<Output = Result<HashMap<String, String>, Self::Error>> + Send;

    /// Writes down which versions of keys were told, to be remembered for [`REMEMBERED`].
    fn write_down(
        &self,
        told: Vec<(String, String)>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Looks at the keys of one link until it is dropped.
#[derive(Debug)]
pub struct Scanner<S> {
    source: Arc<S>,
    _task: JoinSet<()>,
}

impl<S: Scan> Scanner<S> {
    /// Tells of every change from now on, and of those since it was last watched.
    ///
    /// # Errors
    ///
    /// The store cannot be read or written.
    pub async fn start(source: S, notifier: ChangeNotifier) -> Result<Self, S::Error> {
        let keys: Vec<String> = notifier.watched().keys().map(str::to_owned).collect();
        let now = source.versions(&keys).await?;
        let mut told = source.told(&keys).await?;
        let unknown = keys.iter().filter(|key| !told.contains_key(*key));
        let new: Vec<_> = unknown
            .map(|key| (key.clone(), version(&now, key).to_owned()))
            .collect();
        told.extend(new);
        let source = Arc::new(source);
        let mut looking = Looking {
            source: Arc::clone(&source),
            notifier,
            keys,
            told,
            again: Instant::now(),
        };
        looking.write_all_down().await?;
        let mut task = JoinSet::new();
        task.spawn(looking.run());
        Ok(Self {
            source,
            _task: task,
        })
    }

    /// What is looked at.
    #[must_use]
    pub fn source(&self) -> Arc<S> {
        Arc::clone(&self.source)
    }
}

fn version<'a>(versions: &'a HashMap<String, String>, key: &str) -> &'a str {
    versions.get(key).map_or(ABSENT, String::as_str)
}

struct Looking<S> {
    source: Arc<S>,
    notifier: ChangeNotifier,
    keys: Vec<String>,
    /// The version of each key that was told last.
    told: HashMap<String, String>,
    /// When all of that is written down again.
    again: Instant,
}

impl<S: Scan> Looking<S> {
    async fn run(mut self) {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        let mut pause = EVERY;
        loop {
            tokio::time::sleep(pause).await;
            pause = match self.look().await {
                Ok(Some(took)) => {
                    backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
                    EVERY.max(took * REST)
                }
                Ok(None) => backoff.delay(),
                Err(error) => {
                    tracing::debug!(link = self.notifier.name(), %error, "could not look at watched keys");
                    backoff.delay()
                }
            };
        }
    }

    /// Tells of what has changed, and returns how long the look took; nothing when the component was
    /// not reached.
    async fn look(&mut self) -> Result<Option<Duration>, S::Error> {
        if let Err(error) = self.write_all_down().await {
            // A store that only reads is told of all the same.
            let link = self.notifier.name();
            tracing::warn!(link, %error, "could not write down again what a watcher was told");
            self.again = Instant::now() + AGAIN_AFTER_FAILURE;
        }
        let begun = Instant::now();
        let now = self.source.versions(&self.keys).await?;
        let took = begun.elapsed();
        let told = |key: &&String| version(&self.told, key) != version(&now, key);
        let changed: Vec<String> = self.keys.iter().filter(told).cloned().collect();
        for key in changed {
            if !self.tell(key).await? {
                return Ok(None);
            }
        }
        Ok(Some(took))
    }

    /// Writes down all that was told, if it is time for that.
    async fn write_all_down(&mut self) -> Result<(), S::Error> {
        if Instant::now() < self.again {
            return Ok(());
        }
        let told = self.told.iter();
        let told: Vec<_> = told
            .map(|(key, told)| (key.clone(), told.clone()))
            .collect();
        for part in told.chunks(AT_ONCE) {
            self.source.write_down(part.to_vec()).await?;
        }
        self.again = Instant::now() + AGAIN;
        Ok(())
    }

    /// Tells what a key has become; `false` when the component was not reached.
    async fn tell(&mut self, key: String) -> Result<bool, S::Error> {
        let found = self.source.read(&key).await?;
        let (now, change) = match found.value {
            Some(value) => (found.version, Change::Set(Some(value))),
            None => (ABSENT.to_owned(), Change::Delete),
        };
        // It may have gone back to where it was meanwhile.
        if version(&self.told, &key) == now {
            return Ok(true);
        }
        if !self.notifier.tell(&key, &change).await {
            return Ok(false);
        }
        self.told.insert(key.clone(), now.clone());
        if let Err(error) = self.source.write_down(vec![(key, now)]).await {
            // It is told once more after the provider was away, if it is not told something else before.
            tracing::warn!(%error, "could not write down what a watcher was told");
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use lattice_core::{ComponentId, LatticeName};
    use lattice_nats_box::NatsBox;
    use lattice_rpc::wrpc::Client;
    use lattice_rpc::{Peer, PeerConfig};

    use super::super::Watched;
    use super::*;
    use crate::settings::Settings;

    /// A store that cannot be written, with nothing in it.
    #[derive(Default)]
    struct OnlyReads {
        looks: AtomicUsize,
        writes: AtomicUsize,
    }

    impl Scan for OnlyReads {
        type Error = &'static str;

        async fn versions(&self, _: &[String]) -> Result<HashMap<String, String>, &'static str> {
            self.looks.fetch_add(1, Ordering::Relaxed);
            Ok(HashMap::new())
        }

        async fn read(&self, _: &str) -> Result<Versioned, &'static str> {
            Err("nothing has changed")
        }

        async fn told(&self, _: &[String]) -> Result<HashMap<String, String>, &'static str> {
            Ok(HashMap::new())
        }

        async fn write_down(&self, _: Vec<(String, String)>) -> Result<(), &'static str> {
            self.writes.fetch_add(1, Ordering::Relaxed);
            Err("read-only")
        }
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_written_is_looked_at_all_the_same() {
        let nats = NatsBox::start().await.unwrap();
        let client = nats.client().await.unwrap();
        let peer = Peer::new(client, PeerConfig::default()).await.unwrap();
        let id = |name| ComponentId::new(name).unwrap();
        let (lattice, patience) = (LatticeName::default(), Duration::from_secs(1));
        let client = Client::new(peer, &lattice, id("store"), id("cart"), patience);
        let watched = Watched::read(&Settings::from_texts([("watch", "SET@a")], [])).unwrap();
        let source = Arc::new(OnlyReads::default());
        let mut looking = Looking {
            source: Arc::clone(&source),
            notifier: ChangeNotifier::of(client, watched),
            keys: vec!["a".to_owned()],
            told: HashMap::from([("a".to_owned(), ABSENT.to_owned())]),
            again: Instant::now(),
        };
        for looks in 1..=2 {
            assert!(looking.look().await.unwrap().is_some());
            assert_eq!(source.looks.load(Ordering::Relaxed), looks);
        }
        // It is not written at with every look, but before another day is over.
        assert_eq!(source.writes.load(Ordering::Relaxed), 1);
        assert!(looking.again > Instant::now());
        assert!(looking.again <= Instant::now() + AGAIN_AFTER_FAILURE);
    }
}
