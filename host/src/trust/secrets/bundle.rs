//! Several secrets that follow their references and their backends.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{select_all, try_join_all};
use lattice_claims::epoch_seconds;
use lattice_core::provider::SecretMap;
use lattice_core::reply::message_chain;
use lattice_core::{Backoff, ConfigName, Spread};
use lattice_store::ConfigWatch;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::error::SecretsError;
use super::{Entity, Secrets};

/// The first and the longest pause after a failure.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(15);

/// How much earlier than here a token may end by the clock of a backend, in seconds.
const CLOCKS_APART: u64 = 60;

/// What is known of the secrets.
#[derive(Debug, Clone)]
pub(crate) enum SecretState {
    /// They are being asked for, for the first time.
    Pending,
    /// They are there. Their `Debug` form does not show them.
    Ready(Arc<SecretMap>),
    /// They cannot be had, or no longer.
    Failed(Arc<SecretsError>),
}

impl SecretState {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Pending, Self::Pending) => true,
            (Self::Ready(one), Self::Ready(two)) => one == two,
            (Self::Failed(one), Self::Failed(two)) => {
                message_chain(one.as_ref()) == message_chain(two.as_ref())
            }
            _ => false,
        }
    }
}

/// Secrets of one entity, in order; later ones win. They are followed until this is dropped.
///
/// Once they are there they stay while a backend is away, and when the token of their entity has
/// expired: what runs then goes on. A backend that refuses for another reason, or a reference that
/// is deleted, takes them away.
#[derive(Debug)]
pub(crate) struct SecretBundle {
    names: Vec<ConfigName>,
    state: watch::Receiver<SecretState>,
    _task: Option<AbortOnDropHandle<()>>,
}

impl SecretBundle {
    /// Begins to ask for secrets. Without names there is nothing to ask for.
    pub(crate) fn follow(secrets: &Secrets, names: Vec<ConfigName>, entity: Entity) -> Self {
        if names.is_empty() {
            let nothing = SecretState::Ready(Arc::default());
            let (_, state) = watch::channel(nothing);
            return Self {
                names,
                state,
                _task: None,
            };
        }
        if let Err(error) = secrets.precondition(&names, &entity) {
            let (_, state) = watch::channel(SecretState::Failed(Arc::new(error)));
            return Self {
                names,
                state,
                _task: None,
            };
        }
        let (told, state) = watch::channel(SecretState::Pending);
        let follower = Follower {
            secrets: secrets.clone(),
            names: names.clone(),
            entity,
            references: Vec::new(),
            told,
        };
        Self {
            names,
            state,
            _task: Some(AbortOnDropHandle::new(tokio::spawn(follower.run()))),
        }
    }

    /// What is known now.
    pub(crate) fn current(&self) -> SecretState {
        self.state.borrow().clone()
    }

    /// Whether there is nothing to follow.
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// A view that can be asked without waiting, for as long as the bundle is kept.
    pub(crate) fn view(&self) -> watch::Receiver<SecretState> {
        self.state.clone()
    }

    /// Waits until the secrets are there: what may pass by itself is waited for until `by`.
    pub(crate) async fn ready(&mut self, by: Instant) -> Result<Arc<SecretMap>, Arc<SecretsError>> {
        let settled = self.state.wait_for(|state| match state {
            SecretState::Pending => false,
            SecretState::Ready(_) => true,
            SecretState::Failed(error) => !error.may_pass(),
        });
        // What ended the wait does not matter, but what is known then.
        drop(timeout_at(by, settled).await);
        match self.current() {
            SecretState::Ready(secrets) => Ok(secrets),
            SecretState::Failed(error) => Err(error),
            SecretState::Pending => Err(Arc::new(SecretsError::Late {
                names: self.names.clone(),
            })),
        }
    }

    /// Waits until something else is known. Nothing is lost when the future is dropped.
    pub(crate) async fn changed(&mut self) {
        if self.state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Asks again and again.
struct Follower {
    secrets: Secrets,
    names: Vec<ConfigName>,
    entity: Entity,
    /// The references, watched from the first round on that could read them.
    references: Vec<ConfigWatch>,
    told: watch::Sender<SecretState>,
}

impl Follower {
    async fn run(mut self) {
        let mut failures = 0;
        // Spread, as the times of refreshing are, so that many do not ask in the same moment.
        let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY).spread_by(Spread::Quarter);
        loop {
            let pause = match self.round().await {
                Ok(secrets) => {
                    failures = 0;
                    backoff.reset();
                    self.tell(SecretState::Ready(Arc::new(secrets)));
                    Spread::Quarter.of(self.secrets.inner.refresh)
                }
                Err(error) => {
                    failures += 1;
                    self.failed(error, failures);
                    backoff.delay()
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = changed(&mut self.references) => {}
            }
        }
    }

    async fn round(&mut self) -> Result<SecretMap, SecretsError> {
        if self.references.is_empty() {
            self.references = self.watch().await?;
        }
        let references = self.references.iter().map(|watch| {
            let reference = watch.current();
            (watch.name().clone(), reference.map(|map| (*map).clone()))
        });
        let references = references.collect();
        self.secrets.resolve(references, &self.entity).await
    }

    async fn watch(&self) -> Result<Vec<ConfigWatch>, SecretsError> {
        let configs = &self.secrets.inner.configs;
        let watches = self.names.iter().map(async |name| {
            let watch = configs.watch(name).await;
            watch.map_err(|source| SecretsError::Store {
                name: name.clone(),
                source,
            })
        });
        try_join_all(watches).await
    }

    /// What may pass by itself, and the end of a token, take nothing away from who has the secrets
    /// already.
    fn failed(&self, error: SecretsError, failures: u32) {
        let has_them = matches!(&*self.told.borrow(), SecretState::Ready(_));
        let keeps = has_them && leaves_alone(&error, &self.entity, epoch_seconds());
        if failures == 1 {
            let (code, why) = (error.code().as_str(), message_chain(&error));
            let id = &*self.entity.id;
            tracing::warn!(id, code, keeps, "no secrets: {why}");
        }
        if !keeps {
            if has_them {
                let secrets = &self.secrets.inner;
                secrets.tell_lost(&self.entity, &self.names, &error);
            }
            self.tell(SecretState::Failed(Arc::new(error)));
        }
    }

    fn tell(&self, state: SecretState) {
        self.told.send_if_modified(|told| {
            let news = !told.is(&state);
            if news {
                *told = state;
            }
            news
        });
    }
}

/// Whether whoever has the secrets keeps them in spite of this: see [`super::super::expiry`] for a
/// token that has run out.
fn leaves_alone(error: &SecretsError, entity: &Entity, now: u64) -> bool {
    let has_expired = || {
        let ends = entity.expires();
        ends.is_some_and(|at| at < now.saturating_add(CLOCKS_APART))
    };
    error.may_pass() || (error.is_about_the_entity() && has_expired())
}

async fn changed(references: &mut [ConfigWatch]) {
    if references.is_empty() {
        return std::future::pending().await;
    }
    let changes = references.iter_mut().map(|watch| Box::pin(watch.changed()));
    select_all(changes).await;
}

#[cfg(test)]
mod tests {
    use lattice_claims::{Claims, ComponentMetadata, KeyKind, SigningKey};
    use lattice_core::provider::SecretValue;
    use lattice_core::secrets::GetSecretError;
    use lattice_core::{BackendName, ComponentId, StringMap};
    use lattice_secrets::AskError;

    use super::*;

    #[test]
    fn the_end_of_a_token_takes_nothing_away_and_other_refusals_do() {
        let refused = |source| SecretsError::Ask {
            name: ConfigName::new("SECRET_db").unwrap(),
            backend: BackendName::new("b").unwrap(),
            source: AskError::Refused {
                backend: BackendName::new("b").unwrap(),
                key: "db".to_owned(),
                source,
            },
        };
        let expired = refused(GetSecretError::InvalidEntityJWT("token expired".to_owned()));
        let denied = refused(GetSecretError::Unauthorized);
        let of = |expires| {
            let mut claims = Claims::new("M".to_owned(), ComponentMetadata::default(), 1);
            claims.expires = expires;
            let token = claims.sign(&SigningKey::generate(KeyKind::Account));
            Entity::new(
                &ComponentId::new("cart").unwrap(),
                Some(&token.unwrap()),
                &StringMap::new(),
            )
        };
        let now = 10_000;
        assert!(leaves_alone(&expired, &of(Some(now - 1)), now));
        assert!(leaves_alone(&expired, &of(Some(now + 5)), now));
        assert!(!leaves_alone(&expired, &of(Some(now + 3600)), now));
        assert!(!leaves_alone(&expired, &of(None), now));
        assert!(!leaves_alone(&denied, &of(Some(now - 1)), now));
    }

    #[test]
    fn the_same_again_is_no_news() {
        let ready = |text: &str| {
            let value = SecretValue::String(text.to_owned());
            let secrets = SecretMap::from_iter([("db".to_owned(), value)]);
            SecretState::Ready(Arc::new(secrets))
        };
        let failed = || SecretState::Failed(Arc::new(SecretsError::Late { names: Vec::new() }));
        assert!(ready("a").is(&ready("a")) && !ready("a").is(&ready("b")));
        assert!(failed().is(&failed()) && !failed().is(&ready("a")));
        assert!(!format!("{:?}", ready("hunter2")).contains("hunter2"));
    }
}
