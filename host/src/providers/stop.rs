//! The orderly end of a provider.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the shutdown subject of providers"
)]

use async_nats::Request;
use bytes::Bytes;
use lattice_core::provider::ShutdownRequest;
use lattice_core::subject::ProviderSubjects;
use tokio::time::timeout_at;

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
    let request = ShutdownRequest {
        host_id: deps.identity.id.as_str().to_owned(),
    };
    let orderly = async {
        if let Life::Inside(inside) = &life {
            // It hears of it without NATS, too.
            inside.stop.cancel();
            life.ended().await;
            return Ok(());
        }
        let payload = serde_json::to_vec(&request).map(Bytes::from)?;
        // An old provider answers before it ends, ours when everything is done.
        // That may take as long as its calls; the deadline of the wish is the only one.
        let request = Request::new().payload(payload).timeout(None);
        tokio::select! {
            // Some end without a word.
            _ = life.ended() => return Ok(()),
            asked = deps.nats.send_request(subjects.shutdown(), request) => asked?,
        };
        life.ended().await;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    let why = match timeout_at(wish.deadline, orderly).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it took too long".to_owned(),
    };
    tracing::warn!("a provider did not end when asked ({why}), killing it");
    life.kill().await;
}
