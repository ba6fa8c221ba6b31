//! What the ends of links report, in a bucket that 1.9 peers do not know.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use lattice_core::subject::store::{link_status_key, parse_link_status_key};
use lattice_core::{ComponentId, Link, LinkKey, LinkStatus};

use crate::bucket::Bucket;
use crate::error::StoreError;
use crate::raw_watch;

/// The states of links, one record per link, end and host.
///
/// Records age: hosts write theirs anew from time to time (see [`crate::StatusReporter`]), and
/// what a lost host left behind disappears by itself.
#[derive(Debug, Clone)]
pub struct StatusStore {
    bucket: Arc<Bucket>,
}

impl StatusStore {
    pub(crate) fn new(bucket: Arc<Bucket>) -> Self {
        Self { bucket }
    }

    /// Stores the state of a link at one end.
    ///
    /// # Errors
    ///
    /// Fails when the endpoint is not an entity id or the store does not answer.
    pub async fn put(&self, link: &LinkKey, status: &LinkStatus) -> Result<(), StoreError> {
        let endpoint = ComponentId::new(&status.endpoint)?;
        let key = link_status_key(link, &endpoint, &status.host_id);
        let value = serde_json::to_vec(status).map_err(|source| StoreError::Encode {
            key: key.clone(),
            source,
        })?;
        self.bucket.put(&key, Bytes::from(value)).await
    }

    /// Removes the state of a link at one end on one host.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer.
    pub async fn delete(
        &self,
        link: &LinkKey,
        endpoint: &ComponentId,
        host_id: &str,
    ) -> Result<(), StoreError> {
        self.bucket
            .purge(&link_status_key(link, endpoint, host_id))
            .await
    }

    /// Reads the states of all links.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer.
    pub async fn all(&self) -> Result<HashMap<LinkKey, Vec<LinkStatus>>, StoreError> {
        let mut states: HashMap<LinkKey, Vec<LinkStatus>> = HashMap::new();
        for record in raw_watch::snapshot(&self.bucket).await? {
            let link = parse_link_status_key(&record.key).map(|(link, ..)| link);
            match (link, serde_json::from_slice(&record.value)) {
                (Some(link), Ok(status)) => states.entry(link).or_default().push(status),
                _ => tracing::warn!(key = record.key, "unreadable link state, ignored"),
            }
        }
        Ok(states)
    }

    /// Fills in the states of `links`, for the answer to `link.get`.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer; the links are as before then.
    pub async fn attach(&self, links: &mut [Link]) -> Result<(), StoreError> {
        let states = self.all().await?;
        for link in links {
            let Ok(key) = link.key() else { continue };
            let ends = [&link.source_id, &link.target];
            // Links of one key may go to several targets, each with ends of its own.
            let mut own: Vec<LinkStatus> = states
                .get(&key)
                .into_iter()
                .flatten()
                .filter(|status| ends.contains(&&status.endpoint))
                .cloned()
                .collect();
            own.sort_by(|a, b| (&a.endpoint, &a.host_id).cmp(&(&b.endpoint, &b.host_id)));
            link.status = own;
        }
        Ok(())
    }
}
