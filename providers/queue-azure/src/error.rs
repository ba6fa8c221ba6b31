//! Refusals of Azure as errors of queues.

use http::StatusCode;
use lattice_azure::AzureError;
use lattice_provider_sdk::chain;
use lattice_provider_sdk::queue::QueueError;

/// What a refusal means to a component.
pub(crate) fn queue_error(error: &AzureError) -> QueueError {
    let text = chain(error);
    match error.code() {
        Some("QueueNotFound") => return QueueError::NoSuchQueue,
        Some("MessageNotFound" | "PopReceiptMismatch") => return QueueError::ReceiptExpired,
        Some("MessageTooLarge" | "RequestBodyTooLarge") => return QueueError::Invalid(text),
        _ => {}
    }
    if error.is_denied() {
        // The component hears no reason, so it is told here.
        tracing::warn!(error = text, "access denied");
        return QueueError::AccessDenied;
    }
    if error.status() == Some(StatusCode::INSUFFICIENT_STORAGE) {
        return QueueError::Full(text);
    }
    match error {
        AzureError::Http(_) => QueueError::Unavailable(text),
        // A queue that was deleted is in the way for a while.
        _ if error.may_pass() || error.code() == Some("QueueBeingDeleted") => {
            QueueError::Unavailable(text)
        }
        _ => QueueError::Other(text),
    }
}
