//! What a process is given when it starts, with what it proves who it is.

use std::sync::Arc;
use std::time::Duration;

use lattice_core::identity::ProviderIdentity;
use lattice_core::provider::{HostData, SecretMap};
use tokio::time::Instant;

use super::error::StartProviderError;
use super::resend::Given;
use super::send::publish;
use super::worker::Worker;
use crate::artifact::Program;
use crate::configs::OpenConfigsError;

/// How long a start waits for secrets whose backends fail in a way that may pass.
const SECRETS_WITHIN: Duration = Duration::from_secs(8);

impl Worker {
    /// The data that a new process reads from its standard input.
    pub(super) async fn host_data(&mut self) -> Result<HostData, StartProviderError> {
        let secrets = self.secrets_to_start().await?;
        if self.credentials.is_none() && matches!(self.program.program, Program::File { .. }) {
            self.deps.rpc.check_account()?;
        }
        // A process could not connect with rights for more links than its token has room for.
        self.wanted_rights();
        let links = self.link_publisher.definitions().await;
        let config = self.config.refresh();
        self.given = Some(Given {
            config: Arc::clone(&config),
            secrets: Arc::clone(&secrets),
        });
        let instance = uuid::Uuid::new_v4().to_string();
        let data = HostData {
            provider_key: self.slot.id.as_str().to_owned(),
            lattice_identity: self.vouch(&instance),
            instance_id: instance,
            link_definitions: links,
            config: (*config).clone(),
            secrets: (*secrets).clone(),
            provider_xkey_private_key: self.xkey.seed(),
            provider_xkey_public_key: self.xkey.public_key(),
            ..self.deps.rpc.tell(self.deps.host_data.clone())
        };
        // Links that have come meanwhile are told, too, once that is noticed.
        let rights = self.wanted_rights();
        match self.credentials.as_mut().zip(rights) {
            None => Ok(data),
            Some((credentials, rights)) => Ok(credentials.give(rights, data)?),
        }
    }

    /// The provider's own secrets. A process that was given none in their place would take that for its
    /// setting, and run on it.
    async fn secrets_to_start(&mut self) -> Result<Arc<SecretMap>, OpenConfigsError> {
        let by = Instant::now() + SECRETS_WITHIN;
        Ok(self.secrets.ready(by).await?)
    }

    /// What a process that is about to be started proves who it is with. One without calls like those
    /// of the 1.9 generation.
    fn vouch(&mut self, instance: &str) -> Option<ProviderIdentity> {
        let id = self.slot.id.as_str();
        let vouched = self.deps.voucher.begin(id, instance);
        match self.deps.voucher.identity(&vouched) {
            Ok(identity) => {
                let expected = self.deps.local.expect(&identity.ticket, id);
                self.vouched = Some((vouched, expected));
                Some(identity)
            }
            Err(error) => {
                tracing::error!(provider = id, %error, "could not vouch for a provider");
                None
            }
        }
    }

    /// Gives the process that lives now tokens that hold for longer.
    pub(super) async fn renew_identity_tokens(&self) {
        let Some((vouched, _)) = &self.vouched else {
            return;
        };
        match self.deps.voucher.tokens(vouched) {
            Ok(tokens) => {
                let subject = self.subjects.identity_of(&self.xkey.public_key());
                publish(&self.deps.nats, &subject, &tokens).await;
            }
            Err(error) => {
                tracing::error!(provider = self.slot.id.as_str(), %error, "could not vouch again");
            }
        }
    }
}
