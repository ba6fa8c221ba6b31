//! The names of the objects in a container, in the order in which they were written.

use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use futures::StreamExt as _;
use lattice_provider_sdk::blobstore::{BlobError, Names};

use crate::consumer::Messages;
use crate::container::Container;

/// How many descriptions are looked at at once.
const PAGE: usize = 256;

/// All names, asked for as they are wanted.
pub(crate) async fn names(container: Container, idle: Duration) -> Result<Names, BlobError> {
    let subject = format!("$O.{}.M.>", container.name);
    let begin = DeliverPolicy::LastPerSubject;
    let descriptions = Messages::open(container, subject, begin, idle).await?;
    let left = descriptions.count();
    let next = |(descriptions, left): (Messages, u64)| async move {
        if left == 0 {
            return Ok(None);
        }
        let (names, left) = page(&descriptions, left).await?;
        Ok(Some((names, (descriptions, left))))
    };
    Ok(futures::stream::try_unfold((descriptions, left), next).boxed())
}

/// Some names, and how many descriptions are left of those that were there at the beginning.
async fn page(descriptions: &Messages, mut left: u64) -> Result<(Vec<String>, u64), BlobError> {
    let most = usize::try_from(left).unwrap_or(PAGE).min(PAGE);
    let mut batch = descriptions.ask(most).await?;
    let mut names = Vec::new();
    let mut came = 0;
    while let Some(message) = descriptions.next(&mut batch).await? {
        came += 1;
        left = left.saturating_sub(1);
        names.extend(name(&message.payload));
    }
    // Some may have been deleted or replaced meanwhile.
    Ok((names, if came == 0 { 0 } else { left }))
}

/// The name in a description, unless its object was deleted.
fn name(description: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
        #[serde(default)]
        deleted: bool,
    }
    let named: Named = serde_json::from_slice(description).ok()?;
    (!named.deleted).then_some(named.name)
}
