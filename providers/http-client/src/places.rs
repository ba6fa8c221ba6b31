//! How many connections a link may have.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use lattice_codec::http::ErrorCode;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::fault::Fault;

/// Limits the connections to each host and port, and those that are kept for further requests.
#[derive(Debug)]
pub(crate) struct Places {
    per_host: usize,
    hosts: Mutex<HashMap<String, Weak<Semaphore>>>,
    pooled: Arc<Semaphore>,
}

/// The right to be a connection.
#[derive(Debug)]
pub(crate) struct Place {
    _host: OwnedSemaphorePermit,
    /// The right to be kept for further requests.
    pooled: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Whether the connection is for one request only.
    pub(crate) fn is_for_one(&self) -> bool {
        self.pooled.is_none()
    }
}

impl Places {
    pub(crate) fn new(per_host: usize, pooled: usize) -> Self {
        Self {
            per_host,
            hosts: Mutex::default(),
            pooled: Arc::new(Semaphore::new(pooled)),
        }
    }

    /// Waits for a place for one more connection to a host. Where no more connections are kept, it is
    /// for one request only; one that has to be `shared` by requests waits until it can be kept.
    pub(crate) async fn take(
        &self,
        (host, port): (&str, u16),
        shared: bool,
        by: Instant,
    ) -> Result<Place, Fault> {
        let host = acquire(self.host(host, port), by).await?;
        let pooled = Arc::clone(&self.pooled);
        let pooled = match shared {
            true => Some(acquire(pooled, by).await?),
            false => pooled.try_acquire_owned().ok(),
        };
        Ok(Place {
            _host: host,
            pooled,
        })
    }

    /// The places for one host, in whatever way its name is written.
    fn host(&self, host: &str, port: u16) -> Arc<Semaphore> {
        let name = host.strip_suffix('.').unwrap_or(host);
        let key = format!("{}:{port}", name.to_ascii_lowercase());
        let mut hosts = self.hosts.lock();
        if let Some(host) = hosts.get(&key).and_then(Weak::upgrade) {
            return host;
        }
        hosts.retain(|_, host| host.strong_count() > 0);
        let host = Arc::new(Semaphore::new(self.per_host));
        hosts.insert(key, Arc::downgrade(&host));
        host
    }
}

async fn acquire(free: Arc<Semaphore>, by: Instant) -> Result<OwnedSemaphorePermit, Fault> {
    match timeout_at(by, free.acquire_owned()).await {
        Ok(Ok(place)) => Ok(place),
        // Nobody closes it.
        Ok(Err(_)) | Err(_) => Err(Fault(ErrorCode::ConnectionLimitReached)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_has_the_same_places_however_it_is_written() {
        let places = Places::new(1, 10);
        let full = || Some(Fault(ErrorCode::ConnectionLimitReached));
        let first = places.take(("a.example", 80), false, soon()).await;
        for host in ["a.example", "A.Example", "a.example.", "A.EXAMPLE."] {
            let next = places.take((host, 80), false, soon()).await;
            assert_eq!(next.err(), full(), "{host}");
        }
        assert!(places.take(("a.example", 81), false, soon()).await.is_ok());
        assert!(places.take(("b.example", 80), false, soon()).await.is_ok());
        drop(first);
        assert!(places.take(("A.example.", 80), false, soon()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_are_not_kept_are_for_one_request() {
        let places = Places::new(10, 1);
        let kept = places.take(("a", 80), false, soon()).await.unwrap();
        let brief = places.take(("b", 80), false, soon()).await.unwrap();
        assert_eq!((kept.is_for_one(), brief.is_for_one()), (false, true));
        let shared = places.take(("c", 80), true, soon()).await;
        let full = Some(Fault(ErrorCode::ConnectionLimitReached));
        assert_eq!(shared.err(), full);
        drop(kept);
        let shared = places.take(("c", 80), true, soon()).await.unwrap();
        assert!(!shared.is_for_one());
    }
}
