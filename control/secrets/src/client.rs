//! Asks backends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use lattice_claims::{CurveKey, SigningKey};
use lattice_core::BackendName;
use lattice_core::provider::SecretValue;
use lattice_core::secrets::{
    ChangeSecretResponse, GetSecretError, PutSecretRequest, PutSecretResponse, Secret,
    SecretRequest, SecretResponse,
};
use lattice_core::subject::{SecretsSubjects, TopicPrefix};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::AskError;
use crate::exchange::{Answer, Asked};

/// How many backends' keys are remembered; a bound against references that name ever new ones.
const MOST_KEYS: usize = 256;
/// What a backend of 1.x answers when it has changed a mapping, and when it has removed nothing from one.
/// Ours never does.
const OF_1X: &[u8] = b"ok";

/// Asks the backends below one topic. Clones share what they know.
///
/// The key of a backend is asked for once and kept until it does not fit any more; each question
/// has a key of its own.
#[derive(Debug, Clone)]
pub struct SecretsClient {
    nats: Client,
    topic: TopicPrefix,
    within: Duration,
    host: Option<Arc<SigningKey>>,
    /// Those that are known beforehand.
    pinned: Arc<HashMap<BackendName, Arc<CurveKey>>>,
    keys: Arc<Mutex<HashMap<BackendName, Arc<CurveKey>>>>,
}

impl SecretsClient {
    /// Asks over `nats`, and waits `within` for each answer.
    #[must_use]
    pub fn new(nats: Client, topic: TopicPrefix, within: Duration) -> Self {
        Self {
            nats,
            topic,
            within,
            host: None,
            pinned: Arc::default(),
            keys: Arc::default(),
        }
    }

    /// Names backends whose keys are known beforehand, so that nobody else can read what they are
    /// asked or give secrets in their names. They have to prove the secrets that they give, as those of
    /// ours do.
    #[must_use]
    pub fn pinned(mut self, keys: impl IntoIterator<Item = (BackendName, CurveKey)>) -> Self {
        let keys = keys.into_iter().map(|(name, key)| (name, Arc::new(key)));
        self.pinned = Arc::new(keys.collect());
        self
    }

    /// Has each question signed by a host, for backends that want to know which one asks.
    #[must_use]
    pub fn signed_by(mut self, host: Arc<SigningKey>) -> Self {
        self.host = Some(host);
        self
    }

    /// Gets a secret.
    ///
    /// # Errors
    ///
    /// [`AskError`] says who did not answer, or why the backend refused.
    pub async fn get(
        &self,
        backend: &BackendName,
        request: &SecretRequest,
    ) -> Result<Secret, AskError> {
        let subject = self.subjects(backend).get();
        let response: SecretResponse = self.sealed(backend, subject, request).await?;
        let key = &request.key;
        match (response.secret, response.error) {
            (_, Some(error)) => Err(refused(backend, key, error)),
            (Some(secret), None) => Ok(secret),
            (None, None) => Err(unreadable(backend)),
        }
    }

    /// Has the reference backend keep a value; gives the number of the version. Its answer, as that of
    /// 1.x, is in plain words.
    ///
    /// # Errors
    ///
    /// As [`SecretsClient::get`].
    pub async fn put(
        &self,
        backend: &BackendName,
        key: &str,
        value: SecretValue,
    ) -> Result<u64, AskError> {
        let subject = self.subjects(backend).put_secret();
        let request = PutSecretRequest::new(key, value);
        let response: PutSecretResponse = self.sealed(backend, subject, &request).await?;
        match (response.revision, response.error) {
            (_, Some(error)) => Err(refused(backend, key, error)),
            (0, None) => Err(unreadable(backend)),
            (revision, None) => Ok(revision),
        }
    }

    /// Has the reference backend let an entity have further secrets.
    ///
    /// # Errors
    ///
    /// As [`SecretsClient::get`].
    pub async fn add_mapping(
        &self,
        backend: &BackendName,
        entity: &str,
        keys: &[String],
    ) -> Result<(), AskError> {
        let subject = self.subjects(backend).add_mapping(entity);
        let reply = self.map(backend, subject, keys).await?;
        if reply == OF_1X {
            return Ok(());
        }
        changed(backend, entity, &reply)
    }

    /// The same, for an entity for which `issuer` signs: its secrets are for tokens of that one and of
    /// others who are named so, and not for those of whoever asks first.
    ///
    /// # Errors
    ///
    /// [`AskError::IssuerIgnored`] when the mapping was made by a backend of 1.x, which does not look at
    /// who signs; else as [`SecretsClient::get`].
    pub async fn add_mapping_of(
        &self,
        backend: &BackendName,
        entity: &str,
        issuer: &str,
        keys: &[String],
    ) -> Result<(), AskError> {
        let subject = self.subjects(backend).add_mapping(entity);
        let payload = encode(backend, &keys)?.into();
        let asked = self.asked(backend);
        let reply = asked.plain_of(subject, payload, issuer).await?;
        if reply.payload == OF_1X {
            return Err(AskError::IssuerIgnored {
                backend: backend.clone(),
                entity: entity.to_owned(),
                issuer: issuer.to_owned(),
            });
        }
        changed(backend, entity, &reply.payload)
    }

    /// Has the reference backend no longer let an entity have some secrets.
    ///
    /// # Errors
    ///
    /// [`AskError::NotRemoved`] of a backend of 1.x, which agrees and removes nothing; else as
    /// [`SecretsClient::get`].
    pub async fn remove_mapping(
        &self,
        backend: &BackendName,
        entity: &str,
        keys: &[String],
    ) -> Result<(), AskError> {
        let subject = self.subjects(backend).remove_mapping(entity);
        let reply = self.map(backend, subject, keys).await?;
        if reply == OF_1X {
            return Err(AskError::NotRemoved {
                backend: backend.clone(),
                entity: entity.to_owned(),
            });
        }
        changed(backend, entity, &reply)
    }

    async fn map(
        &self,
        backend: &BackendName,
        subject: String,
        keys: &[String],
    ) -> Result<Bytes, AskError> {
        let payload = encode(backend, &keys)?;
        let reply = self.asked(backend).plain(subject, payload.into()).await?;
        Ok(reply.payload)
    }

    fn subjects(&self, backend: &BackendName) -> SecretsSubjects {
        SecretsSubjects::new(&self.topic, backend)
    }

    fn asked<'a>(&'a self, backend: &'a BackendName) -> Asked<'a> {
        Asked {
            nats: &self.nats,
            backend,
            within: self.within,
            host: self.host.as_deref(),
            is_pinned: self.pinned.contains_key(backend),
        }
    }

    /// Asks once more with a fresh key of the backend when the one at hand does not fit.
    async fn sealed<Q: Serialize, A: DeserializeOwned + Refusal>(
        &self,
        backend: &BackendName,
        subject: String,
        question: &Q,
    ) -> Result<A, AskError> {
        let question = encode(backend, question)?;
        let first = self.once::<A>(backend, &subject, &question).await;
        let misfit = match &first {
            Ok(answer) => answer.is_about_keys(),
            Err(error) => error.is_about_keys(),
        };
        if !misfit || self.pinned.contains_key(backend) {
            return first;
        }
        self.keys.lock().remove(backend);
        self.once(backend, &subject, &question).await
    }

    async fn once<A: DeserializeOwned + Refusal>(
        &self,
        backend: &BackendName,
        subject: &str,
        question: &[u8],
    ) -> Result<A, AskError> {
        let server = self.server_key(backend).await?;
        let asked = self.asked(backend);
        match asked.sealed(subject.to_owned(), question, &server).await? {
            Answer::Sealed(answer) => decode(backend, &answer),
            Answer::Plain(answer) => {
                decode::<A>(backend, &answer)?
                    .in_plain_words()
                    .ok_or_else(|| AskError::Unsealed {
                        backend: backend.clone(),
                    })
            }
        }
    }

    async fn server_key(&self, backend: &BackendName) -> Result<Arc<CurveKey>, AskError> {
        if let Some(known) = self.pinned.get(backend) {
            return Ok(Arc::clone(known));
        }
        if let Some(known) = self.keys.lock().get(backend) {
            return Ok(Arc::clone(known));
        }
        let asked = self.asked(backend);
        let subject = self.subjects(backend).server_xkey();
        let reply = asked.plain(subject, Bytes::new()).await?;
        let text = std::str::from_utf8(&reply.payload).map_err(|_| unreadable(backend))?;
        let key = Arc::new(asked.key(text)?);
        let mut keys = self.keys.lock();
        if keys.len() >= MOST_KEYS {
            keys.clear();
        }
        keys.insert(backend.clone(), Arc::clone(&key));
        Ok(key)
    }
}

/// An answer that may be a refusal.
trait Refusal: Sized {
    fn refusal(&self) -> Option<&GetSecretError>;

    /// What counts of an answer that is not sealed.
    fn in_plain_words(self) -> Option<Self>;

    /// Whether the backend could not open the question.
    fn is_about_keys(&self) -> bool {
        matches!(
            self.refusal(),
            Some(GetSecretError::InvalidXKey | GetSecretError::DecryptionError)
        )
    }
}

impl Refusal for SecretResponse {
    fn refusal(&self) -> Option<&GetSecretError> {
        self.error.as_ref()
    }

    /// Anybody may say anything in plain words: that counts as a refusal or not at all.
    fn in_plain_words(self) -> Option<Self> {
        self.error.map(Self::from)
    }
}

impl Refusal for PutSecretResponse {
    fn refusal(&self) -> Option<&GetSecretError> {
        self.error.as_ref()
    }

    /// There is no secret in it, and 1.x never seals it.
    fn in_plain_words(self) -> Option<Self> {
        Some(self)
    }
}

fn changed(backend: &BackendName, entity: &str, reply: &[u8]) -> Result<(), AskError> {
    let error = match serde_json::from_slice::<ChangeSecretResponse>(reply) {
        Ok(response) => response.error,
        Err(_) => Some(words(reply).ok_or_else(|| unreadable(backend))?),
    };
    match error {
        None => Ok(()),
        Some(error) => Err(refused(backend, entity, error)),
    }
}

/// Why a backend of 1.x has changed no mapping, which it says in bare words. There are no values in a
/// mapping that they could repeat.
fn words(reply: &[u8]) -> Option<GetSecretError> {
    let text = std::str::from_utf8(reply).ok()?.trim();
    (!text.is_empty()).then(|| GetSecretError::Other(text.to_owned()))
}

fn refused(backend: &BackendName, key: &str, source: GetSecretError) -> AskError {
    AskError::Refused {
        backend: backend.clone(),
        key: key.to_owned(),
        source,
    }
}

fn unreadable(backend: &BackendName) -> AskError {
    AskError::Reply {
        backend: backend.clone(),
    }
}

fn encode(backend: &BackendName, value: &impl Serialize) -> Result<Vec<u8>, AskError> {
    // None of these types can fail to be written.
    serde_json::to_vec(value).map_err(|_| unreadable(backend))
}

/// The parser's own words could repeat part of a value.
fn decode<T: DeserializeOwned>(backend: &BackendName, bytes: &[u8]) -> Result<T, AskError> {
    serde_json::from_slice(bytes).map_err(|_| unreadable(backend))
}
