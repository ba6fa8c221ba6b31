//! Errors of the file system in the terms of blobs.

use std::io::{self, ErrorKind};

use lattice_provider_sdk::blobstore::BlobError;

/// What an error means that says nothing of the names that were asked for.
pub(crate) fn failed(error: &io::Error) -> BlobError {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => BlobError::Denied(text),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            BlobError::Full(text)
        }
        _ => BlobError::Unavailable(text),
    }
}

/// Whether something is not there, or something else is in its place.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    // A symbolic link that is not followed is ELOOP.
    matches!(code, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

/// Runs work that waits for the disk.
pub(crate) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(BlobError::other(&error)))
}
