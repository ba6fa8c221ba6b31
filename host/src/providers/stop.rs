//! The orderly end of a provider.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the shutdown subject of providers"
)]

use std::error::Error;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Request, RequestErrorKind};
use bytes::Bytes;
use lattice_core::provider::ShutdownRequest;
use lattice_core::subject::ProviderSubjects;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::ProviderDeps;
use super::life::Life;
use super::slot::Slot;

/// How long NATS may be away, or take to answer, before it counts as away; less where little time is left.
const BRIEFLY: Duration = Duration::from_secs(1);
/// How often it is looked whether it is back.
const LOOK: Duration = Duration::from_millis(20);

/// Has a process end without a word over NATS, and kills it when it does not until the deadline.
pub(crate) async fn interrupt(mut life: Life, slot: &Slot, deadline: Instant) {
    life.interrupt();
    if slot.in_time(deadline, life.ended()).await.is_none() {
        tracing::warn!("a provider did not end when interrupted (it took too long), killing it");
        life.kill().await;
    }
}

/// Asks the provider to end, waits for it until the deadline, and kills it then. `own` is where it alone
/// is asked for its health, unless it is of the old generation.
pub(crate) async fn shut_down(
    deps: &ProviderDeps,
    subjects: &ProviderSubjects,
    own: Option<&str>,
    mut life: Life,
    slot: &Slot,
    deadline: Instant,
) {
    let orderly = async {
        if let Life::Inside(inside) = &life {
            // It hears of it without NATS, too.
            inside.stop.cancel();
        } else {
            ask(deps, subjects, own, &mut life, deadline).await?;
        }
        life.ended().await;
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    };
    let why = match slot.in_time(deadline, orderly).await {
        Some(Ok(())) => return,
        Some(Err(error)) => error.to_string(),
        None => "it took too long".to_owned(),
    };
    tracing::warn!("a provider did not end when asked ({why}), killing it");
    life.kill().await;
}

/// Has a process know that it is to end; it may have ended when this returns.
async fn ask(
    deps: &ProviderDeps,
    subjects: &ProviderSubjects,
    own: Option<&str>,
    life: &mut Life,
    deadline: Instant,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let request = ShutdownRequest {
        host_id: deps.identity.id.as_str().to_owned(),
    };
    let payload = serde_json::to_vec(&request).map(Bytes::from)?;
    // An old provider answers before it ends, ours when everything is done.
    // That may take as long as its calls; the deadline of the wish is the only one.
    let request = Request::new().payload(payload).timeout(None);
    tokio::select! {
        // Some end without a word.
        _ = life.ended() => {}
        asked = deps.nats.send_request(subjects.shutdown(), request) => {
            if let Err(error) = asked {
                // It may be without a connection just now, and hears of its end without NATS.
                tracing::debug!(%error, "could not ask a provider to end: interrupting it");
                life.interrupt();
            }
        }
        () = unheard(&deps.nats, own, deadline) => {
            tracing::debug!("NATS is away: interrupting a provider");
            life.interrupt();
        }
    }
    Ok(())
}

/// Resolves where NATS is away, now or at half of the time: who is asked then does not hear it.
async fn unheard(nats: &Client, own: Option<&str>, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    let briefly = BRIEFLY.min(left / 4);
    if !is_connected_within(nats, briefly).await {
        return;
    }
    sleep_until(deadline - left / 2).await;
    let has_heard = match own {
        _ if !is_connected(nats) => false,
        // A connection may be dead for long before that shows. One of ours that is interrupted though it
        // was asked goes on with its end; an old one might leave its calls.
        Some(own) => has_heard(nats, own, briefly).await,
        None => true,
    };
    if has_heard {
        // It was asked, and may take all of the time for its calls.
        std::future::pending::<()>().await;
    }
}

fn is_connected(nats: &Client) -> bool {
    nats.connection_state() == State::Connected
}

/// Whether the host has a connection, at once or in some time: one that broke may be made again.
async fn is_connected_within(nats: &Client, time: Duration) -> bool {
    let connected = async {
        while !is_connected(nats) {
            sleep(LOOK).await;
        }
    };
    timeout(time, connected).await.is_ok()
}

/// Whether a process of ours has heard that it is to end, where it is asked for its health: it listens no
/// more then, which the server says. One that answers has not.
async fn has_heard(nats: &Client, subject: &str, time: Duration) -> bool {
    let request = Request::new().timeout(Some(time));
    let asked = nats.send_request(subject.to_owned(), request);
    match timeout(time, asked).await {
        Ok(Ok(_)) => false,
        Ok(Err(error)) => error.kind() == RequestErrorKind::NoResponders,
        Err(_) => false,
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test plays the other side")]
mod tests {
    use futures::StreamExt as _;
    use lattice_nats_box::NatsBox;

    use super::*;

    /// How long anything may take.
    const SOON: Duration = Duration::from_secs(20);

    async fn until_noticed(nats: &Client) {
        let noticed = async {
            while is_connected(nats) {
                sleep(LOOK).await;
            }
        };
        timeout(SOON, noticed).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_that_is_made_again_soon_was_not_away() {
        let mut server = NatsBox::start().await.unwrap();
        let nats = server.client().await.unwrap();
        assert!(is_connected_within(&nats, Duration::ZERO).await);
        server.stop();
        until_noticed(&nats).await;
        assert!(!is_connected_within(&nats, LOOK).await);
        let again = nats.clone();
        let waiting = tokio::spawn(async move { is_connected_within(&again, SOON).await });
        server.restart().await.unwrap();
        assert!(waiting.await.unwrap());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_process_that_listens_no_more_has_heard() {
        let server = NatsBox::start().await.unwrap();
        let nats = server.client().await.unwrap();
        assert!(has_heard(&nats, "nobody", SOON).await);
        let answers = nats.subscribe("health").await.unwrap();
        nats.flush().await.unwrap();
        let server = nats.clone();
        let answering = tokio::spawn(answers.for_each(move |asked| {
            let server = server.clone();
            async move {
                server
                    .publish(asked.reply.unwrap(), "".into())
                    .await
                    .unwrap();
            }
        }));
        assert!(!has_heard(&nats, "health", SOON).await);
        answering.abort();
    }
}
