//! Subjects of core NATS.

#![expect(
    clippy::disallowed_methods,
    reason = "the subjects are those that links subscribe to"
)]

use std::sync::Arc;

use async_nats::{SubscribeError, Subscriber, UnsubscribeError};
use futures::StreamExt as _;
use lattice_provider_sdk::Shared;
use lattice_provider_sdk::messaging::{Deliverer, Intake, Tasks, Verdict};

use crate::cluster::Cluster;
use crate::settings::Subscription;
use crate::{letters, message};

/// Hands what arrives on a subject to the component, until the link goes away; what has arrived by then is
/// handed over as far as there is time.
pub(crate) async fn begin(
    cluster: &Arc<Shared<Cluster>>,
    deliverer: &Deliverer,
    subscription: &Subscription,
    intake: &Intake,
) -> Result<(), SubscribeError> {
    let Subscription { subject, group } = subscription;
    let subscriber = cluster.nats.queue_subscribe(subject.clone(), group.clone());
    let mut subscriber = subscriber.await?;
    let (cluster, deliverer) = (Arc::clone(cluster), deliverer.clone());
    let (leaving, tasks) = (intake.leaving(), intake.tasks());
    intake.tasks().spawn(async move {
        tokio::select! {
            biased;
            () = leaving.cancelled() => {}
            () = take(&mut subscriber, &cluster, &deliverer, &tasks) => {}
        }
        // NATS gives the rest to others, but not what has come already: that is taken until all that is
        // under way is cut off.
        if let Err(error) = end(&mut subscriber, cluster.is_connected()).await {
            tracing::debug!(%error, "could not unsubscribe");
            return;
        }
        take(&mut subscriber, &cluster, &deliverer, &tasks).await;
    });
    Ok(())
}

/// Has no more sent; what has come can still be read. Without a connection nothing is on its way that
/// could be waited for.
async fn end(subscriber: &mut Subscriber, is_connected: bool) -> Result<(), UnsubscribeError> {
    match is_connected {
        true => subscriber.drain().await,
        false => subscriber.unsubscribe().await,
    }
}

async fn take(
    subscriber: &mut Subscriber,
    cluster: &Arc<Shared<Cluster>>,
    deliverer: &Deliverer,
    tasks: &Tasks,
) {
    loop {
        let room = deliverer.room().await;
        let Some(received) = subscriber.next().await else {
            return;
        };
        let (cluster, deliverer) = (Arc::clone(cluster), deliverer.clone());
        tasks.spawn(async move {
            let arriving = message::arriving(&received, false);
            let (verdict, room) = deliverer.settle_unkept(&arriving, room).await;
            if let Verdict::Dead(letter) = verdict {
                let to = &deliverer.rules().dead_letter;
                letters::tell(&cluster, to, &received, &letter).await;
            }
            drop(room);
        });
    }
}
