//! Blobs: looking, reading, deleting, copying.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use http::header::{ETAG, HeaderName, IF_MATCH, LAST_MODIFIED, RANGE};
use http::{Method, Response, StatusCode};
use lattice_azure::{Azure, AzureError, AzureRequest};
use lattice_backend_http::reading::{self, PieceError, length, text};
use lattice_backend_http::{date, encode};
use lattice_provider_sdk::Backoff;
use lattice_provider_sdk::blobstore::{Blob, BlobError, ObjectId, ObjectInfo, Span};

use crate::error::{of_blob, of_container};

const COPY_SOURCE: HeaderName = HeaderName::from_static("x-ms-copy-source");
const COPY_IF_MATCH: HeaderName = HeaderName::from_static("x-ms-source-if-match");
const COPY_STATUS: HeaderName = HeaderName::from_static("x-ms-copy-status");
const SNAPSHOTS: HeaderName = HeaderName::from_static("x-ms-delete-snapshots");
/// The pauses between looks at a copy that takes its time.
const LOOK: Duration = Duration::from_millis(100);
const LONGEST_LOOK: Duration = Duration::from_secs(5);

pub(crate) fn path(id: &ObjectId) -> String {
    format!("/{}/{}", id.container, encode::path(&id.object))
}

fn request(what: &'static str, method: Method, id: &ObjectId) -> AzureRequest<'static> {
    AzureRequest::new(what, method, path(id))
}

async fn look(azure: &Azure, id: &ObjectId) -> Result<Response<bytes::Bytes>, BlobError> {
    let looked = azure
        .ask(&request("look at the blob", Method::HEAD, id))
        .await;
    looked.map_err(|error| of_blob(&error, id))
}

pub(crate) async fn info(azure: &Azure, id: &ObjectId) -> Result<ObjectInfo, BlobError> {
    let answer = look(azure, id).await?;
    let written = text(answer.headers(), &LAST_MODIFIED).and_then(date::seconds);
    Ok(ObjectInfo {
        created_at: written.unwrap_or(0),
        size: length(answer.headers()).unwrap_or(0),
    })
}

pub(crate) async fn delete(azure: &Azure, container: &str, name: &str) -> Result<(), BlobError> {
    let id = ObjectId {
        container: container.to_owned(),
        object: name.to_owned(),
    };
    delete_version(azure, &id, None).await
}

/// Deletes a blob, or only the version that is called so.
pub(crate) async fn delete_version(
    azure: &Azure,
    id: &ObjectId,
    tag: Option<String>,
) -> Result<(), BlobError> {
    let mut asked = request("delete the blob", Method::DELETE, id);
    // Azure keeps a blob that has some, unless told so.
    asked.headers = vec![(SNAPSHOTS, "include".to_owned())];
    let is_any = tag.is_none();
    asked.headers.extend(tag.map(|tag| (IF_MATCH, tag)));
    match azure.ask(&asked).await {
        // It was written anew, or is gone.
        Err(error) if !is_any && is_of_another_version(&error) => Ok(()),
        deleted => match deleted.map_err(|error| of_blob(&error, id)) {
            Err(BlobError::NoObject(_)) => Ok(()),
            done => done.map(drop),
        },
    }
}

/// Whether Azure refuses since the blob is there in another version than the one that was named. With
/// the same status it says that somebody has a lease of the blob.
fn is_of_another_version(error: &AzureError) -> bool {
    let code = error.code();
    matches!(code, Some("ConditionNotMet" | "SourceConditionNotMet"))
}

/// Opens a blob for reading.
pub(crate) async fn read(
    azure: &Azure,
    id: &ObjectId,
    span: Span,
    idle: Duration,
) -> Result<Blob, BlobError> {
    let mut asked = request("read the blob", Method::GET, id);
    if !span.is_all() {
        asked.headers = vec![(RANGE, reading::range(span.start(), span.end()))];
    }
    match azure.open(&asked).await {
        Ok(answer) => {
            let reading = reading::reading(answer, span.start(), span.end(), idle);
            let reading = reading.map_err(|error| BlobError::other(&error))?;
            Ok(Blob {
                len: reading.len,
                data: reading.data.map_err(piece_error).boxed(),
            })
        }
        // The blob has no such bytes.
        Err(error) if error.status() == Some(StatusCode::RANGE_NOT_SATISFIABLE) => {
            Ok(Blob::empty())
        }
        Err(error) => Err(of_blob(&error, id)),
    }
}

fn piece_error(error: PieceError) -> BlobError {
    match error {
        PieceError::Stalled(after) => BlobError::Stalled {
            who: "the backend",
            after,
        },
        error => BlobError::unavailable(&error),
    }
}

/// Copies a blob within the account, and waits until that is done.
pub(crate) async fn copy(azure: &Azure, from: &ObjectId, to: &ObjectId) -> Result<(), BlobError> {
    // Says by itself what is missing; the copy would not say which of the two.
    look(azure, from).await?;
    copy_version(azure, from, None, to).await
}

/// What the service calls the present version of a blob.
pub(crate) async fn tag(azure: &Azure, id: &ObjectId) -> Result<Option<String>, BlobError> {
    let found = look(azure, id).await?;
    Ok(text(found.headers(), &ETAG).map(str::to_owned))
}

/// Moves a blob within the account.
pub(crate) async fn move_to(
    azure: &Azure,
    from: &ObjectId,
    to: &ObjectId,
) -> Result<(), BlobError> {
    let tag = tag(azure, from).await?;
    copy_version(azure, from, tag.clone(), to).await?;
    // One that was written meanwhile was not moved.
    delete_version(azure, from, tag).await
}

/// Copies a blob, or only the version that is called so.
pub(crate) async fn copy_version(
    azure: &Azure,
    from: &ObjectId,
    tag: Option<String>,
    to: &ObjectId,
) -> Result<(), BlobError> {
    let mut asked = request("copy the blob", Method::PUT, to);
    asked.headers = vec![(COPY_SOURCE, azure.url(&path(from)))];
    let is_any = tag.is_none();
    asked.headers.extend(tag.map(|tag| (COPY_IF_MATCH, tag)));
    let copied = azure.ask(&asked).await;
    let mut answer = copied.map_err(|error| {
        if !is_any && is_of_another_version(&error) {
            return BlobError::Unavailable(
                "the object was replaced while it was copied".to_owned(),
            );
        }
        of_container(&error, &to.container)
    })?;
    let mut pause = Backoff::new(LOOK, LONGEST_LOOK);
    loop {
        match text(answer.headers(), &COPY_STATUS) {
            Some("pending") => {}
            None | Some("success") => return Ok(()),
            Some(status) => {
                return Err(BlobError::Other(format!(
                    "Azure did not copy {from}: the copy is `{status}`"
                )));
            }
        }
        tokio::time::sleep(pause.delay()).await;
        answer = look(azure, to).await?;
    }
}
