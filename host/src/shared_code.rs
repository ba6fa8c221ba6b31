//! The compiled code that hosts of a lattice share: what this one takes and what it gives.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lattice_core::subject::store::code_object;
use lattice_runtime::{CodeName, CodeOffer, CodeSharing, CodeStore, Runtime};
use lattice_store::{CodeBucket, StoreError};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::config::ClusterConfig;

/// How many offers may wait. Each holds on to code that, most likely, runs here anyway.
const MAX_OFFERS: usize = 64;
/// How many entries are read at the same time; each may be as large as entries get.
const MAX_READS: usize = 4;
/// How long reading an entry may take: less than a runtime waits for all of them together.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// For how long nobody is asked after JetStream did not answer, so that not every start waits.
const QUIET: Duration = Duration::from_secs(30);

/// The pauses between the attempts to write an entry.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(5),
    Duration::from_secs(30),
];

/// A runtime's way to the bucket of compiled code.
#[derive(Debug)]
pub(crate) struct SharedCode {
    bucket: CodeBucket,
    offers: mpsc::Sender<CodeOffer>,
    reads: Semaphore,
    /// Until when nobody is asked.
    quiet_until: Mutex<Option<Instant>>,
    _publisher: AbortOnDropHandle<()>,
}

impl SharedCode {
    /// Has `runtime` share code with those whom `cluster` names; with nobody if it names nobody.
    pub(crate) fn start(
        runtime: &Runtime,
        cluster: &ClusterConfig,
        bucket: &CodeBucket,
    ) -> Option<Arc<Self>> {
        let issuers = cluster.trusted();
        if issuers.is_empty() {
            tracing::debug!("compiled code is not shared: no cluster seed and no cluster issuers");
            return None;
        }
        let (offers, waiting) = mpsc::channel(MAX_OFFERS);
        let publisher = tokio::spawn(publish(bucket.clone(), waiting));
        let shared = Arc::new(Self {
            bucket: bucket.clone(),
            offers,
            reads: Semaphore::new(MAX_READS),
            quiet_until: Mutex::default(),
            _publisher: AbortOnDropHandle::new(publisher),
        });
        tracing::debug!(
            bucket = bucket.name(),
            gives = cluster.key.is_some(),
            issuers = issuers.len(),
            "compiled code is shared"
        );
        runtime.share_code(CodeSharing {
            store: Arc::clone(&shared) as Arc<dyn CodeStore>,
            signer: cluster.key.clone(),
            issuers,
        });
        Some(shared)
    }

    fn is_quiet(&self) -> bool {
        let until = *self.quiet_until.lock();
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Says once what went wrong, and asks nobody for a while.
    fn fall_quiet(&self, error: &StoreError) {
        self.bucket.forget();
        let cause = cause(error);
        tracing::warn!(%error, cause, pause = ?QUIET, "shared code cannot be had, compiling");
        *self.quiet_until.lock() = Some(Instant::now() + QUIET);
    }
}

#[async_trait]
impl CodeStore for SharedCode {
    async fn get(&self, name: &CodeName, max_bytes: usize) -> Option<Bytes> {
        if self.is_quiet() {
            return None;
        }
        // That others are being read says nothing about JetStream.
        let Ok(_permit) = timeout(PATIENCE, self.reads.acquire()).await else {
            return None;
        };
        let reading = timeout(PATIENCE, self.bucket.get(&object(name), max_bytes)).await;
        let error = match reading {
            Ok(Ok(found)) => return found,
            Ok(Err(error)) => error,
            Err(_) => StoreError::Timeout {
                bucket: self.bucket.name().to_owned(),
                within: PATIENCE,
            },
        };
        if let StoreError::Read { .. } = error {
            // Says something about this entry alone.
            let cause = cause(&error);
            tracing::warn!(%error, cause, "shared code cannot be read, compiling");
        } else {
            self.fall_quiet(&error);
        }
        None
    }

    fn offer(&self, offer: CodeOffer) {
        // What others may have already leaves room for what they cannot have.
        if offer.was_kept() && self.offers.capacity() <= MAX_OFFERS / 2 {
            return;
        }
        if let Err(error) = self.offers.try_send(offer) {
            tracing::debug!(%error, "compiled code is not given to others");
        }
    }
}

fn object(name: &CodeName) -> String {
    code_object(&name.issuer, &name.key)
}

fn cause(error: &dyn Error) -> Option<String> {
    error.source().map(ToString::to_string)
}

/// Gives what this host compiled to the others, one after the other.
async fn publish(bucket: CodeBucket, mut offers: mpsc::Receiver<CodeOffer>) {
    while let Some(offer) = offers.recv().await {
        let name = offer.name();
        if offer.was_kept() && bucket.has(&object(&name)).await.unwrap_or(true) {
            continue;
        }
        let sealed = tokio::task::spawn_blocking(move || offer.seal()).await;
        let entry = match sealed {
            Ok(Ok(entry)) => entry,
            Ok(Err(error)) => {
                let cause = cause(&error);
                tracing::warn!(entry = %name, %error, cause, "compiled code is not shared");
                continue;
            }
            // Only when the process ends.
            Err(_) => return,
        };
        match put(&bucket, &name, &entry).await {
            Ok(()) => {
                tracing::info!(entry = %name, bytes = entry.len(), "shared compiled code");
            }
            Err(error) => {
                let cause = cause(&error);
                tracing::warn!(entry = %name, %error, cause, "compiled code is not shared");
            }
        }
    }
}

/// Writes an entry, again after failures that may pass.
async fn put(bucket: &CodeBucket, name: &CodeName, entry: &Bytes) -> Result<(), StoreError> {
    for pause in PAUSES {
        match bucket.put(&object(name), entry).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                let cause = cause(&error);
                tracing::debug!(entry = %name, %error, cause, "not shared, trying again");
            }
        }
        sleep(pause).await;
    }
    bucket.put(&object(name), entry).await
}
