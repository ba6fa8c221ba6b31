//! The names of the objects in a container, in the order in which they were written.
//!
//! A batch of descriptions may end before its time, and objects may be replaced while their names are
//! read, which puts them behind the others. So a listing goes on until NATS says that there is no
//! description behind the last one that came, and names each object once. When it cannot go on, it
//! ends with an error.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures::StreamExt as _;
use lattice_provider_sdk::blobstore::{BlobError, Names};

use crate::api::failed;
use crate::consumer::Messages;
use crate::container::Container;

/// How many descriptions are looked at at once.
const PAGE: usize = 256;
/// How long the server may take over a page that is not full.
const WAIT: Duration = Duration::from_millis(500);
/// How many batches in a row may end without a message, although there is one.
const TRIES: usize = 4;

/// All names, asked for as they are wanted.
pub(crate) async fn names(container: Container, idle: Duration) -> Result<Names, BlobError> {
    let listing = Listing::open(container, idle).await?;
    let next = |mut listing: Listing| async move {
        let names = listing.page().await?;
        Ok(names.map(|names| (names, listing)))
    };
    Ok(futures::stream::try_unfold(listing, next).boxed())
}

/// A listing under way.
struct Listing {
    descriptions: Messages,
    container: Container,
    subject: String,
    /// How many descriptions are still to come, as the server counts them.
    pending: u64,
    /// Where the last one was.
    place: u64,
    /// Names that were told, by their hashes: there may be many.
    named: HashSet<u64>,
    by: RandomState,
}

impl Listing {
    async fn open(container: Container, idle: Duration) -> Result<Self, BlobError> {
        let subject = format!("$O.{}.M.>", container.name);
        // A description rolls those before it up, so that the last of each object is all there is. Asked
        // for just the last ones, the server stops at each that is gone meanwhile.
        let begin = DeliverPolicy::All;
        let descriptions = Messages::open(container.clone(), subject.clone(), begin, idle).await?;
        Ok(Self {
            pending: descriptions.count(),
            descriptions,
            container,
            subject,
            place: 0,
            named: HashSet::new(),
            by: RandomState::new(),
        })
    }

    /// Some more names; `None` after the last.
    async fn page(&mut self) -> Result<Option<Vec<String>>, BlobError> {
        for _ in 0..TRIES {
            if self.pending == 0 && !self.is_more().await? {
                return Ok(None);
            }
            let most = usize::try_from(self.pending).unwrap_or(PAGE);
            let most = most.clamp(1, PAGE);
            let mut batch = self.descriptions.ask_for(most, WAIT).await?;
            let (mut names, mut came) = (Vec::new(), false);
            while let Some(message) = self.descriptions.next(&mut batch).await? {
                came = true;
                let info = message.info();
                let info = info.map_err(|error| BlobError::unavailable(&*error))?;
                (self.place, self.pending) = (info.stream_sequence, info.pending);
                let name = name(&message.payload);
                names.extend(name.filter(|name| self.named.insert(self.by.hash_one(name))));
            }
            if came {
                return Ok(Some(names));
            }
            // Deleted meanwhile, or not handed over.
            self.pending = 0;
        }
        let what = "NATS stopped handing descriptions over before the last";
        Err(BlobError::Unavailable(what.to_owned()))
    }

    /// Whether there is a description behind the last that came.
    async fn is_more(&self) -> Result<bool, BlobError> {
        let stream = &self.container.stream;
        let next = stream.get_first_raw_message_by_subject(&self.subject, self.place + 1);
        match next.await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(false),
            Err(error) => Err(failed(&self.container.name, &error)),
        }
    }
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

#[cfg(test)]
mod tests;
