//! Containers, and the names in them.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream;
use http::Method;
use http::header::LAST_MODIFIED;
use lattice_azure::{Azure, AzureError, AzureRequest};
use lattice_backend_http::date;
use lattice_backend_http::encode;
use lattice_backend_http::reading::text;
use lattice_backend_http::xml::Element;
use lattice_provider_sdk::blobstore::{BlobError, Names};

use crate::blobs::delete;
use crate::error::{of_container, other};
use crate::names;

/// How many names Azure gives at once.
pub(crate) const PAGE: u32 = 5000;
/// How many blobs are deleted at once.
const DELETES_AT_ONCE: usize = 16;

/// Some names, and where the next are.
struct Page {
    names: Vec<String>,
    next: Option<String>,
}

fn request(what: &'static str, method: Method, name: &str) -> AzureRequest<'static> {
    AzureRequest {
        query: vec![("restype", "container")],
        ..AzureRequest::new(what, method, format!("/{name}"))
    }
}

/// Looks whether the service lets us in, with one attempt.
pub(crate) async fn greet(azure: &Azure, container: Option<&str>) -> Result<(), AzureError> {
    let asked = match container {
        Some(name) => request("look for the container", Method::HEAD, name),
        None => AzureRequest {
            query: vec![("comp", "list"), ("maxresults", "1")],
            ..AzureRequest::new("list containers", Method::GET, "/")
        },
    };
    match azure.ask_once(&asked).await {
        // Who may not list containers may use some.
        Err(error) if container.is_none() && error.is_known_but_denied() => Ok(()),
        other => other.map(drop),
    }
}

pub(crate) async fn create(azure: &Azure, name: &str) -> Result<(), BlobError> {
    let created = azure
        .ask(&request("create the container", Method::PUT, name))
        .await;
    match created {
        Err(error) if error.code() == Some("ContainerAlreadyExists") => Ok(()),
        done => done.map(drop).map_err(|error| other(&error)),
    }
}

pub(crate) async fn delete_container(azure: &Azure, name: &str) -> Result<(), BlobError> {
    let deleted = azure
        .ask(&request("delete the container", Method::DELETE, name))
        .await;
    match deleted {
        Err(error) if error.is_missing() => Ok(()),
        // Somebody has done it.
        Err(error) if error.code() == Some("ContainerBeingDeleted") => Ok(()),
        done => done.map(drop).map_err(|error| other(&error)),
    }
}

/// When a container was last changed; `None` when it is not there.
pub(crate) async fn changed_at(azure: &Azure, name: &str) -> Result<Option<u64>, BlobError> {
    let looked = azure
        .ask(&request("look for the container", Method::HEAD, name))
        .await;
    match looked {
        Ok(answer) => {
            let changed = text(answer.headers(), &LAST_MODIFIED).and_then(date::seconds);
            Ok(Some(changed.unwrap_or(0)))
        }
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(other(&error)),
    }
}

async fn page(
    azure: &Azure,
    name: &str,
    most: u32,
    marker: Option<&str>,
) -> Result<Page, BlobError> {
    let most = most.to_string();
    let mut query = vec![
        ("restype", "container"),
        ("comp", "list"),
        ("maxresults", most.as_str()),
    ];
    query.extend(marker.map(|marker| ("marker", marker)));
    let asked = AzureRequest {
        query,
        ..AzureRequest::new("list blobs", Method::GET, format!("/{name}"))
    };
    let list = azure.ask_xml(&asked).await;
    let list = list.map_err(|error| of_container(&error, name))?;
    let blobs = list.child("Blobs").into_iter();
    let blobs = blobs.flat_map(|blobs| blobs.all("Blob"));
    let names = blobs.filter_map(|blob| blob.child("Name")).map(blob_name);
    let next = list.text_of("NextMarker");
    Ok(Page {
        names: names.collect(),
        next: (!next.is_empty()).then(|| next.to_owned()),
    })
}

/// Names with characters that XML cannot have are told encoded.
fn blob_name(name: &Element) -> String {
    let is_encoded = name.attribute("Encoded") == Some("true");
    let read = encode::unpercent(&name.text, false).filter(|_| is_encoded);
    read.unwrap_or_else(|| name.text.clone())
}

/// The names of all blobs, `most` at a time. The first page is asked for at once, so that a
/// container that is not there is told before the stream begins.
pub(crate) async fn names(
    azure: Arc<Azure>,
    container: &str,
    most: u32,
) -> Result<Names, BlobError> {
    let first = page(&azure, container, most, None).await?;
    let rest = (azure, container.to_owned(), first.next);
    let rest = stream::try_unfold(rest, move |(azure, container, next)| async move {
        let Some(marker) = next else {
            return Ok(None);
        };
        let page = page(&azure, &container, most, Some(&marker)).await?;
        Ok(Some((page.names, (azure, container, page.next))))
    });
    let first = stream::once(async move { Ok(first.names) });
    Ok(first.chain(rest).boxed())
}

/// Deletes all blobs of a container.
pub(crate) async fn clear(azure: &Azure, container: &str) -> Result<(), BlobError> {
    let mut next = None;
    loop {
        let page = page(azure, container, PAGE, next.as_deref()).await?;
        delete_all(azure, container, page.names).await?;
        next = page.next;
        if next.is_none() {
            return Ok(());
        }
    }
}

/// Deletes some blobs. All are tried, but those whose names Azure would take for other ones.
pub(crate) async fn delete_all(
    azure: &Azure,
    container: &str,
    names: Vec<String>,
) -> Result<(), BlobError> {
    let of = names.len();
    let deletes = names.into_iter().map(|name| async move {
        names::blob(&name)?;
        delete(azure, container, &name).await
    });
    let deletes: Vec<_> = deletes.collect();
    let mut done = stream::iter(deletes).buffered(DELETES_AT_ONCE);
    let mut failed = Vec::new();
    while let Some(deleted) = done.next().await {
        match deleted {
            Err(error @ BlobError::NoContainer(_)) => return Err(error),
            deleted => failed.extend(deleted.err()),
        }
    }
    BlobError::of_some(of, failed)
}
