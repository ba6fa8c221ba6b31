//! The orderly end of a provider.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the shutdown subject of providers"
)]

use std::error::Error;

use async_nats::connection::State;
use async_nats::{Client, Request};
use bytes::Bytes;
use lattice_core::provider::ShutdownRequest;
use lattice_core::subject::ProviderSubjects;
use tokio::time::{Instant, sleep, timeout_at};

use super::ProviderDeps;
use super::life::Life;
use super::slot::StopProvider;

/// Has a process end without a word over NATS, and kills it when it does not until the deadline.
pub(crate) async fn interrupt(mut life: Life, wish: &StopProvider) {
    life.interrupt();
    if timeout_at(wish.deadline, life.ended()).await.is_err() {
        tracing::warn!("a provider did not end when interrupted (it took too long), killing it");
        life.kill().await;
    }
}

/// Asks the provider to end, waits for it until the deadline, and kills it then.
pub(crate) async fn shut_down(
    deps: &ProviderDeps,
    subjects: &ProviderSubjects,
    mut life: Life,
    wish: StopProvider,
) {
    let orderly = async {
        if let Life::Inside(inside) = &life {
            // It hears of it without NATS, too.
            inside.stop.cancel();
        } else {
            ask(deps, subjects, &mut life, wish.deadline).await?;
        }
        life.ended().await;
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    };
    let why = match timeout_at(wish.deadline, orderly).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it took too long".to_owned(),
    };
    tracing::warn!("a provider did not end when asked ({why}), killing it");
    life.kill().await;
}

/// Has a process know that it is to end; it may have ended when this returns.
async fn ask(
    deps: &ProviderDeps,
    subjects: &ProviderSubjects,
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
            asked?;
        }
        () = unheard(&deps.nats, deadline) => {
            tracing::debug!("NATS is away: interrupting a provider");
            life.interrupt();
        }
    }
    Ok(())
}

/// Resolves where NATS is away, now or at half of the time: who is asked then does not hear it.
async fn unheard(nats: &Client, deadline: Instant) {
    let is_away = || nats.connection_state() != State::Connected;
    if is_away() {
        return;
    }
    let left = deadline.saturating_duration_since(Instant::now());
    sleep(left / 2).await;
    if !is_away() {
        // It was asked, and may take all of the time for its calls.
        std::future::pending::<()>().await;
    }
}
