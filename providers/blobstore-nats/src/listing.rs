//! The names of the objects in a container, in the order in which they were written.

use std::time::Duration;

use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use futures::StreamExt as _;
use lattice_provider_sdk::blobstore::{BlobError, Names};
use lattice_provider_sdk::chain;

use crate::api::failed;
use crate::container::Container;

/// How many descriptions are looked at at once.
const PAGE: usize = 256;

/// How long the server may take to hand one over.
const ANSWER: Duration = Duration::from_secs(5);

/// What hands descriptions over.
struct Descriptions {
    container: Container,
    consumer: Consumer<Config>,
}

impl Drop for Descriptions {
    fn drop(&mut self) {
        let name = self.consumer.cached_info().name.clone();
        let stream = self.container.stream.clone();
        // One that cannot be deleted goes by itself when it was not used for a while.
        self.container
            .nats
            .chores
            .add("deleting a consumer", move || {
                let (stream, name) = (stream.clone(), name.clone());
                async move {
                    let _ = stream.delete_consumer(&name).await;
                    Ok(())
                }
            });
    }
}

/// All names, asked for as they are wanted.
pub(crate) async fn names(container: Container, idle: Duration) -> Result<Names, BlobError> {
    let config = Config {
        deliver_policy: DeliverPolicy::LastPerSubject,
        ack_policy: AckPolicy::None,
        filter_subject: format!("$O.{}.M.>", container.name),
        inactive_threshold: idle + ANSWER,
        num_replicas: 1,
        memory_storage: true,
        ..Config::default()
    };
    let consumer = container.stream.create_consumer(config).await;
    let consumer = consumer.map_err(|error| failed(&container.name, &error))?;
    let left = consumer.cached_info().num_pending;
    let descriptions = Descriptions {
        container,
        consumer,
    };
    let next = |(descriptions, left): (Descriptions, u64)| async move {
        if left == 0 {
            return Ok(None);
        }
        let (names, left) = descriptions.page(left).await?;
        Ok(Some((names, (descriptions, left))))
    };
    Ok(futures::stream::try_unfold((descriptions, left), next).boxed())
}

impl Descriptions {
    /// Some names, and how many descriptions are left of those that were there at the beginning.
    async fn page(&self, mut left: u64) -> Result<(Vec<String>, u64), BlobError> {
        let most = usize::try_from(left).unwrap_or(PAGE).min(PAGE);
        let batch = self.consumer.fetch().max_messages(most).messages().await;
        let mut batch = batch.map_err(|error| BlobError::unavailable(&error))?;
        let mut names = Vec::new();
        let mut came = 0;
        loop {
            let next = tokio::time::timeout(ANSWER, batch.next()).await;
            let message = match next {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return Err(BlobError::Unavailable(chain(&*error))),
                // Some were deleted or replaced meanwhile.
                Ok(None) if came == 0 => return Ok((names, 0)),
                Ok(None) => return Ok((names, left)),
                Err(_) => {
                    let what = "NATS stopped handing the names over";
                    return Err(BlobError::Unavailable(what.to_owned()));
                }
            };
            came += 1;
            left = left.saturating_sub(1);
            if let Some(name) = name(&message.payload) {
                names.push(name);
            }
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
