//! What a provider proves who it is with.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the subjects of a provider's identity"
)]

use async_nats::{Client, Subject};
use futures::StreamExt as _;
use lattice_core::event::CallRefused;
use lattice_core::identity::PeerTokens;
use lattice_core::provider::HostData;
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, LatticeName};
use lattice_rpc::Auth;
use tokio::sync::mpsc;

use crate::complaint;
use crate::error::RunError;
use crate::failures::tell_host;

/// How many reports of refused calls may wait.
const REPORTS: usize = 64;

/// What a host has given a provider to prove who it is, and what the two say of it.
#[derive(Debug)]
pub(crate) struct Identity {
    auth: Auth,
    refused: mpsc::Receiver<CallRefused>,
    /// Where the host tells renewed tokens.
    renewals: String,
    /// Where it is told of refused calls.
    reports: Subject,
}

impl Identity {
    /// Reads what the host has given, if it has given anything.
    pub(crate) fn of(data: &HostData) -> Result<Option<Self>, RunError> {
        let Some(given) = &data.lattice_identity else {
            return Ok(None);
        };
        let lattice = LatticeName::new(&data.lattice_rpc_prefix)?;
        let subjects = ProviderSubjects::new(&lattice, &ComponentId::new(&data.provider_key)?);
        let (reports, refused) = mpsc::channel(REPORTS);
        let key = &data.provider_xkey_public_key;
        Ok(Some(Self {
            auth: Auth::of_provider(lattice.as_str(), given, Some(reports))?,
            refused,
            renewals: subjects.identity_of(key),
            reports: subjects.refused_of(key).into(),
        }))
    }

    /// What calls prove with who makes them.
    pub(crate) fn auth(&self) -> Auth {
        self.auth.clone()
    }

    /// Takes renewed tokens and tells of refused calls, as long as the provider lives.
    pub(crate) async fn keep(self, nats: Client) {
        let write = serde_json::to_vec::<CallRefused>;
        let telling = tell_host(self.refused, write, nats.clone(), self.reports);
        tokio::join!(telling, renew(self.auth, &nats, self.renewals));
    }
}

/// Takes renewed tokens.
async fn renew(auth: Auth, nats: &Client, subject: String) {
    let mut renewals = match nats.subscribe(subject).await {
        Ok(renewals) => renewals,
        Err(error) => {
            tracing::error!(%error, "the provider will not hear of renewed tokens");
            return;
        }
    };
    while let Some(message) = renewals.next().await {
        let read = serde_json::from_slice::<PeerTokens>(&message.payload);
        match read.map(|tokens| auth.renew(tokens)) {
            Ok(true) => tracing::debug!("took tokens that hold for longer"),
            Ok(false) => tracing::warn!("ignored tokens that are not those of this provider"),
            Err(error) => {
                if let Some(untold) = complaint::turn(&"tokens") {
                    let error = complaint::clipped(&error);
                    tracing::warn!(error, untold, "ignored tokens that are not readable");
                }
            }
        }
    }
}
