//! How many connections a provider keeps.

use std::sync::Arc;

use lattice_provider_sdk::process::file_limit;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many connections one provider holds at most; further ones are closed.
const MAX_CONNECTIONS: usize = 16_384;

/// How many that are closed are listened to at once; others are only closed.
const MAX_FAREWELLS: usize = 256;

/// The room for connections, which all addresses of a provider share.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    most: usize,
    free: Arc<Semaphore>,
}

impl Room {
    /// As much as this process has room for.
    pub(crate) fn new() -> Self {
        Self::within(file_limit())
    }

    /// Half of the open files are for what else there is in the process: where a connection took the
    /// last one, nobody could be told so, nor could anything else go on.
    fn within(files: u64) -> Self {
        let half = usize::try_from(files / 2).unwrap_or(usize::MAX);
        let most = half.clamp(1, MAX_CONNECTIONS);
        let free = Arc::new(Semaphore::new(most));
        Self { most, free }
    }

    /// Room for one more connection, if there is any.
    pub(crate) fn enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    /// How many connections there may be.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// How many clients of one address may be listened to although they are let go.
    pub(crate) fn farewells(&self) -> usize {
        (self.most / 4).clamp(1, MAX_FAREWELLS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_half_of_the_open_files_to_others() {
        let most = |files| Room::within(files).most();
        assert_eq!(most(1024), 512);
        assert_eq!(most(65_536), MAX_CONNECTIONS);
        assert_eq!(most(u64::MAX), MAX_CONNECTIONS);
        let small = Room::within(4);
        let taken = (small.enter(), small.enter());
        assert!(taken.0.is_some() && taken.1.is_some() && small.enter().is_none());
        assert_eq!(
            (small.farewells(), Room::within(1024).farewells()),
            (1, 128)
        );
    }
}
