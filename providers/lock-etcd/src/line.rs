//! One etcd, and the watch over those who leave a line.

use std::sync::Arc;
use std::time::Duration;

use lattice_etcd::{Etcd, EtcdError, OpenError, Range, Watch};
use lattice_provider_sdk::Backoff;
use lattice_provider_sdk::lock::Wakeups;
use tokio_util::task::AbortOnDropHandle;

use crate::fences::Fences;
use crate::settings::LineSettings;

/// The pauses before a watch that was lost is begun again.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// After how much silence a watch is doubted.
const SILENCE: Duration = Duration::from_secs(10);

/// An etcd with the keys of locks.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) etcd: Arc<Etcd>,
    pub(crate) prefix: String,
    pub(crate) fences: Arc<Fences>,
    /// Rung with the key of each who leaves.
    pub(crate) wakeups: Arc<Wakeups>,
    _watch: AbortOnDropHandle<()>,
}

/// Why etcd cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    /// What the link says cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It does not answer, or refuses.
    #[error("could not read the keys of locks")]
    Read(#[from] EtcdError),
}

impl Line {
    pub(crate) async fn open(settings: &LineSettings) -> Result<Self, LineError> {
        let etcd = Arc::new(Etcd::new(settings.etcd.clone())?);
        look(&etcd, &settings.prefix).await?;
        let wakeups = Arc::new(Wakeups::new());
        let fences = Arc::new(Fences::new(&settings.prefix));
        let watch = watch(
            Arc::clone(&etcd),
            settings.prefix.clone(),
            Arc::clone(&fences),
            Arc::clone(&wakeups),
        );
        Ok(Self {
            etcd,
            prefix: settings.prefix.clone(),
            fences,
            wakeups,
            _watch: AbortOnDropHandle::new(tokio::spawn(watch)),
        })
    }

    /// Looks whether etcd does its work, for us.
    pub(crate) async fn check(&self) -> Result<(), EtcdError> {
        look(&self.etcd, &self.prefix).await
    }
}

/// Reads something that only a majority of members can tell, and that a login has to allow.
async fn look(etcd: &Etcd, prefix: &str) -> Result<(), EtcdError> {
    let range = Range::prefix(prefix.to_owned()).keys_only().limit(1);
    etcd.range(range).await.map(drop)
}

/// Rings for everyone who leaves, for as long as the etcd is in use.
async fn watch(etcd: Arc<Etcd>, prefix: String, fences: Arc<Fences>, wakeups: Arc<Wakeups>) {
    let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
    loop {
        let began = tokio::time::Instant::now();
        let error = watch_once(&etcd, &prefix, &fences, &wakeups).await;
        tracing::debug!(%error, "lost the watch over locks");
        if began.elapsed() > SILENCE {
            backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        }
        // Somebody may have left unseen, and it may be another etcd that comes back.
        fences.doubt();
        wakeups.ring_all();
        tokio::time::sleep(backoff.delay()).await;
    }
}

async fn watch_once(etcd: &Etcd, prefix: &str, fences: &Fences, wakeups: &Wakeups) -> EtcdError {
    let watch = Watch::prefix(prefix.to_owned()).deletes_only();
    let mut watching = match etcd.watch(watch).await {
        Ok(watching) => watching,
        Err(error) => return error,
    };
    wakeups.ring_all();
    loop {
        match tokio::time::timeout(SILENCE, watching.next()).await {
            Ok(Ok(events)) => {
                fences.saw(events.revision);
                for event in events.events {
                    if let Ok(key) = std::str::from_utf8(&event.pair.key) {
                        wakeups.ring(key);
                    }
                }
            }
            Ok(Err(error)) => return error,
            // Its member may be gone without a word.
            Err(_) => {
                if let Err(error) = etcd.status().await {
                    return error;
                }
            }
        }
    }
}
