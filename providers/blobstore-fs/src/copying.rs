//! Copying an object without carrying its data through the provider.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lattice_provider_sdk::blobstore::BlobError;

use crate::failure::failed;

/// How much is copied until the next look whether anybody still waits for it.
const PIECE: u64 = 16 << 20;

/// Says that nobody waits any more, once it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Wanted(Arc<AtomicBool>);

/// Whether somebody still waits.
#[derive(Debug, Clone)]
pub(crate) struct StillWanted(Arc<AtomicBool>);

impl Wanted {
    /// For whoever does the work.
    pub(crate) fn look(&self) -> StillWanted {
        StillWanted(Arc::clone(&self.0))
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Copies a whole file, within the file system where it can do that.
pub(crate) fn copy(from: &File, to: &File, wanted: &StillWanted) -> Result<(), BlobError> {
    let mut to = to;
    loop {
        if wanted.0.load(Ordering::Relaxed) {
            let why = "nobody waits for the copy any more";
            return Err(BlobError::BrokeOff(why.to_owned()));
        }
        let copied = io::copy(&mut from.take(PIECE), &mut to);
        match copied {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(failed(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_nobody_waits_for_ends() {
        let from = tempfile::tempfile().unwrap();
        let to = tempfile::tempfile().unwrap();
        from.set_len(2 * PIECE + 5).unwrap();
        let wanted = Wanted::default();
        copy(&from, &to, &wanted.look()).unwrap();
        assert_eq!(to.metadata().unwrap().len(), 2 * PIECE + 5);
        let look = wanted.look();
        drop(wanted);
        assert!(copy(&from, &to, &look).is_err());
    }
}
