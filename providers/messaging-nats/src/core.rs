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
use lattice_provider_sdk::nats::SubscriptionWatch;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::settings::Subscription;
use crate::{dead_letters, message};

/// Hands what arrives on a subject to the component, from when `turn` is cancelled until the link goes
/// away; what has arrived by then is handed over as far as there is time. Returns what tells whether the
/// server refuses the subscription.
pub(crate) async fn begin(
    cluster: &Arc<Shared<Cluster>>,
    deliverer: &Deliverer,
    subscription: &Subscription,
    intake: &Intake,
    turn: &CancellationToken,
) -> Result<SubscriptionWatch, SubscribeError> {
    let Subscription { subject, group } = subscription;
    let watch = SubscriptionWatch::begin(&cluster.nats, subject, group);
    let subscriber = cluster.nats.queue_subscribe(subject.clone(), group.clone());
    let mut subscriber = subscriber.await?;
    let (cluster, deliverer) = (Arc::clone(cluster), deliverer.clone());
    let (leaving, tasks) = (intake.leaving(), intake.tasks());
    let turn = turn.clone();
    intake.tasks().spawn(async move {
        let taken = async {
            turn.cancelled().await;
            take(&mut subscriber, &cluster, &deliverer, &tasks).await;
        };
        tokio::select! {
            biased;
            () = leaving.cancelled() => {}
            () = taken => {}
        }
        // NATS gives the rest to others, but not what has come already: that is taken until all that is
        // under way is cut off.
        if let Err(error) = end(&mut subscriber, cluster.is_connected()).await {
            tracing::debug!(%error, "could not unsubscribe");
            return;
        }
        take(&mut subscriber, &cluster, &deliverer, &tasks).await;
    });
    Ok(watch)
}

/// Has no more sent; what has come can still be read. Without a connection nothing is on its way that
/// could be waited for.
///
/// With one, the client reads what is there before it does this, and ends the stream after that. `drain`
/// would have it subscribe once more where it connects anew meanwhile, with nobody to read what comes, and
/// ends the stream with the next thing that the client does. What the server sends until it has heard this
/// is lost, as with `drain` where there is much to do.
async fn end(subscriber: &mut Subscriber, is_connected: bool) -> Result<(), UnsubscribeError> {
    match is_connected {
        true => subscriber.unsubscribe_after(0).await,
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
                dead_letters::tell(&cluster, to, &received, &letter).await;
            }
            drop(room);
        });
    }
}
