//! Refusals of Azure as errors of blobs.

use lattice_azure::AzureError;
use lattice_provider_sdk::blobstore::{BlobError, ObjectId};

/// As an error that has to do with no particular blob.
pub(crate) fn other(error: &AzureError) -> BlobError {
    match error {
        _ if error.is_denied() => BlobError::Denied(error.to_string()),
        AzureError::Http(_) => BlobError::unavailable(error),
        // A container that was deleted is in the way for a while.
        _ if error.may_pass() || error.code() == Some("ContainerBeingDeleted") => {
            BlobError::unavailable(error)
        }
        _ => BlobError::other(error),
    }
}

/// As an error of a container, or of a blob that is written.
pub(crate) fn of_container(error: &AzureError, name: &str) -> BlobError {
    match error.code() {
        Some("ContainerNotFound") => BlobError::NoContainer(name.to_owned()),
        _ => other(error),
    }
}

/// As an error of a blob.
pub(crate) fn of_blob(error: &AzureError, id: &ObjectId) -> BlobError {
    match error.code() {
        Some("BlobNotFound" | "ResourceNotFound" | "404") => BlobError::NoObject(id.clone()),
        _ => of_container(error, &id.container),
    }
}
