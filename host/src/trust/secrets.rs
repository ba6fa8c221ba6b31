//! The secrets that components, providers and links name: resolved by backends, and kept up to
//! date while they are in use.
//!
//! A name that starts with `SECRET` is a reference in the config store. [`Secrets`] reads it, asks
//! the backend that it names, and shows the host's token and that of the entity. A [`SecretBundle`]
//! follows the references and asks again from time to time, so that a secret that is changed reaches
//! whoever uses it.

mod ask;
mod bundle;
mod error;
mod hide;

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use lattice_claims::claims::HostMetadata;
use lattice_claims::{HostClaims, KeyKind, SigningKey, TokenError, epoch_seconds, token};
use lattice_core::event::{Event, SecretsLost};
use lattice_core::provider::SecretText;
use lattice_core::reply::message_chain;
use lattice_core::secrets::APPLICATION;
use lattice_core::subject::TopicPrefix;
use lattice_core::{ComponentId, ConfigName, HostId, StringMap};
use lattice_secrets::SecretsClient;
use lattice_store::ConfigStore;

pub(crate) use bundle::{SecretBundle, SecretState};
pub(crate) use error::SecretsError;
pub use hide::hide_memory;

use crate::config::SecretsConfig;
use crate::events::Events;
use crate::identity::Identity;

/// How long a backend may take to answer.
const ANSWER: Duration = Duration::from_secs(3);

/// For whom secrets are asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entity {
    /// Its id in the lattice.
    pub(crate) id: String,
    /// The token in its file, which says who it is.
    pub(crate) token: Option<SecretText>,
    /// The application that it belongs to.
    pub(crate) application: Option<String>,
}

impl Entity {
    /// Whoever has this token, started with these annotations.
    pub(crate) fn new(id: &ComponentId, token: Option<&str>, annotations: &StringMap) -> Self {
        Self {
            id: id.as_str().to_owned(),
            token: token.map(SecretText::new),
            application: annotations.get(APPLICATION).cloned(),
        }
    }

    /// When its token ends, as the token says. The token was checked before the entity ran.
    fn expires(&self) -> Option<u64> {
        let token = self.token.as_ref()?;
        let claims = token::decode::<serde_json::Value>(token.expose());
        claims.ok()?.expires
    }
}

/// Resolves secrets. Clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct Secrets {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    configs: ConfigStore,
    /// Without a topic there are no secrets.
    client: Option<SecretsClient>,
    /// The host's token in requests.
    host_token: SecretText,
    /// How often backends are asked again.
    refresh: Duration,
    /// Where it is told that secrets were lost, and of which host.
    events: Arc<Events>,
    host: HostId,
}

impl Secrets {
    /// Asks the backends that the configuration names, over `nats`.
    pub(crate) fn new(
        nats: &Client,
        configs: &ConfigStore,
        config: &SecretsConfig,
        identity: &Identity,
        key: &Arc<SigningKey>,
        events: &Arc<Events>,
    ) -> Result<Self, TokenError> {
        let client = config.topic.clone().map(|topic: TopicPrefix| {
            let client = SecretsClient::new(nats.clone(), topic, ANSWER);
            let client = client.pinned(config.backend_keys.iter().cloned());
            client.signed_by(Arc::clone(key))
        });
        Ok(Self {
            inner: Arc::new(Inner {
                configs: configs.clone(),
                client,
                host_token: host_token(identity)?,
                refresh: config.refresh,
                events: Arc::clone(events),
                host: identity.id.clone(),
            }),
        })
    }
}

impl Inner {
    /// Says that `entity` runs without secrets that it had.
    fn tell_lost(&self, entity: &Entity, names: &[ConfigName], error: &SecretsError) {
        self.events.publish(Event::SecretsLost(SecretsLost {
            host_id: self.host.as_str().to_owned(),
            id: entity.id.clone(),
            names: names.iter().map(|name| name.as_str().to_owned()).collect(),
            code: error.code(),
            error: message_chain(error),
        }));
    }
}

/// The token of this host for this start, signed by a key that nobody else has (protocol page, 6.5).
fn host_token(identity: &Identity) -> Result<SecretText, TokenError> {
    let labels = [("self_signed".to_owned(), "true".to_owned())];
    let metadata = HostMetadata {
        name: Some(identity.friendly_name.clone()),
        labels: Some(labels.into_iter().collect()),
    };
    let id = identity.id.as_str().to_owned();
    let mut claims = HostClaims::new(id, metadata, epoch_seconds());
    let issuer = SigningKey::generate(KeyKind::Account);
    claims.sign(&issuer).map(SecretText::new)
}

#[cfg(test)]
mod tests {
    use lattice_core::LatticeName;

    use super::*;

    #[test]
    fn the_token_of_a_host_names_it_and_says_that_it_signed_it_itself() {
        let key = Arc::new(SigningKey::generate(KeyKind::Host));
        let lattice = LatticeName::default();
        let identity = Identity::new(&key, Some("icy".to_owned()), lattice).unwrap();
        let text = host_token(&identity).unwrap();
        let claims = token::verify::<HostMetadata>(text.expose(), epoch_seconds()).unwrap();
        assert_eq!(claims.subject, key.public_key());
        assert!(claims.issuer.starts_with('A'));
        let metadata = claims.metadata.unwrap();
        assert_eq!(metadata.name.as_deref(), Some("icy"));
        assert_eq!(metadata.labels.unwrap()["self_signed"], "true");
    }

    #[test]
    fn an_entity_does_not_show_its_token() {
        let annotations = StringMap::from([(APPLICATION.to_owned(), "shop".to_owned())]);
        let entity = Entity::new(
            &ComponentId::new("shop").unwrap(),
            Some("token"),
            &annotations,
        );
        assert_eq!(entity.application.as_deref(), Some("shop"));
        assert!(!format!("{entity:?}").contains("token: Some(\"token"));
    }
}
