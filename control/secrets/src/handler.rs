//! What the reference backend makes of one request.

use std::fmt::Display;

use async_nats::Message;
use lattice_claims::token::{self, epoch_seconds};
use lattice_claims::{Claims, CurveKey, KeyKind, PublicKey};
use lattice_core::provider::SecretValue;
use lattice_core::secrets::{
    GetSecretError, PutSecretRequest, REQUEST_XKEY, Secret, SecretContext, SecretRequest,
    SecretResponse,
};
use lattice_rpc::throttle::KeyedThrottle;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use crate::backend::SealedAnswer;
use crate::exchange::ISSUER;
use crate::mappings::{MappingError, Mappings};
use crate::proof::{self, PROOF};
use crate::vault::{StoredValues, VaultError};

/// How many entities and hosts are told apart of those who are refused something.
const MAX_REFUSED: usize = 64;
/// How much of the name of a secret, and of an error, is told.
const LONGEST: usize = 256;

/// Of whom it was told lately that they were refused something, and for which kind of request.
static REFUSED: Mutex<Option<KeyedThrottle<String, ()>>> = Mutex::new(None);

/// Checks who asks, and looks up what they ask for.
#[derive(Debug)]
pub(crate) struct RequestHandler {
    pub(crate) transit: CurveKey,
    pub(crate) values: StoredValues,
    pub(crate) mappings: Mappings,
    pub(crate) trusted_issuers: Vec<PublicKey>,
    /// Whether a token counts whoever has signed it.
    pub(crate) any_issuer: bool,
    pub(crate) trusted_hosts: Vec<PublicKey>,
}

/// Who asks: the entity and the host, as far as they have shown it.
#[derive(Debug)]
struct Asking {
    entity: String,
    issuer: String,
    host: String,
}

impl RequestHandler {
    /// Answers a request for a secret.
    pub(crate) async fn get(&self, message: &Message) -> Result<SealedAnswer, GetSecretError> {
        let (sender, json) = opened(&self.transit, message)?;
        let request: SecretRequest = read(&json)?;
        let asking = self.asking(&request.context, message)?;
        let (entity, host) = (asking.entity.as_str(), asking.host.as_str());
        let key = clipped(&request.key);
        match self.look_up(&asking, &request).await {
            Ok(secret) => {
                let version = secret.version.as_str();
                tracing::info!(entity, host, key, version, "gave a secret");
                self.seal(&SecretResponse::from(secret), &sender)
            }
            Err(error) => {
                // Whoever has a key can ask as often as they like.
                if let Some(untold) = turn(&format!("{entity} {host}")) {
                    let error = clipped(&error);
                    tracing::warn!(entity, host, key, error, untold, "refused a secret");
                }
                Err(error)
            }
        }
    }

    async fn look_up(
        &self,
        asking: &Asking,
        request: &SecretRequest,
    ) -> Result<Secret, GetSecretError> {
        let entity = asking.entity.as_str();
        let is_bound =
            self.any_issuer || self.mappings.check_issuer(entity, &asking.issuer).await?;
        // Whoever may not have a secret does not learn whether there is one.
        if !self.mappings.allows(entity, &request.key).await? {
            return Err(GetSecretError::Unauthorized);
        }
        let found = self.values.get(&request.key, request.version.as_deref());
        let found = found.await.map_err(not_had)?;
        let secret = found.ok_or(GetSecretError::SecretNotFound)?;
        if !is_bound {
            self.mappings.bind_first(entity, &asking.issuer).await?;
            self.tell_first(asking, &request.key);
        }
        match request.field.as_deref().filter(|field| !field.is_empty()) {
            None => Ok(secret),
            Some(field) => field_of(secret, field).ok_or(GetSecretError::SecretNotFound),
        }
    }

    /// Tells aloud who counts from now on for having asked first: it may not be the one who was meant.
    fn tell_first(&self, Asking { entity, issuer, .. }: &Asking, key: &str) {
        if self.trusted_issuers.is_empty() {
            tracing::warn!(
                entity,
                issuer,
                "nobody was named who signs for the entity, so its secrets are for tokens of this issuer, \
                 who asked first; `wash secrets-backend add-mapping {entity} {key} --issuer A…` puts \
                 another in its place"
            );
        } else {
            tracing::info!(entity, issuer, "the secrets are for tokens of this issuer");
        }
    }

    /// Keeps a value; gives the number of its version.
    pub(crate) async fn put(&self, message: &Message) -> Result<u64, GetSecretError> {
        let (_sender, json) = opened(&self.transit, message)?;
        let request: PutSecretRequest = read(&json)?;
        if request.string_secret.is_none() && request.binary_secret.is_none() {
            return Err(GetSecretError::InvalidPayload);
        }
        let revision = self.values.put(&request).await?;
        let key = clipped(&request.key);
        tracing::info!(key, revision, "keeps a new version of a secret");
        Ok(revision)
    }

    /// Lets an entity have further secrets. A header may say who signs for it.
    pub(crate) async fn add(&self, entity: &str, message: &Message) -> Result<(), GetSecretError> {
        let keys: Vec<String> = read(&message.payload)?;
        let named = match header(message, ISSUER) {
            Some(issuer) => {
                let known = PublicKey::parse(issuer).map_err(|_| GetSecretError::InvalidHeaders)?;
                Some(known.as_text())
            }
            None => None,
        };
        // Before there is anything to have; and again after it, as whoever takes the last secret from
        // an entity at the same time has its issuers forgotten.
        if let Some(issuer) = &named {
            self.mappings.bind(entity, issuer).await?;
            tracing::info!(entity, issuer, "the secrets are for tokens of this issuer");
        }
        self.mappings.add(entity, &keys).await?;
        if let Some(issuer) = &named {
            self.mappings.bind(entity, issuer).await?;
        }
        tracing::info!(entity, ?keys, "may have these secrets");
        Ok(())
    }

    /// Lets an entity no longer have some.
    pub(crate) async fn remove(&self, entity: &str, payload: &[u8]) -> Result<(), GetSecretError> {
        let keys: Vec<String> = read(payload)?;
        self.mappings.remove(entity, &keys).await?;
        tracing::info!(entity, ?keys, "may no longer have these secrets");
        Ok(())
    }

    /// Seals an answer with a key that is made for it alone.
    fn seal(
        &self,
        answer: &SecretResponse,
        reader: &CurveKey,
    ) -> Result<SealedAnswer, GetSecretError> {
        let json = serde_json::to_vec(answer).map_err(|_| GetSecretError::EncryptionError)?;
        let own = CurveKey::generate();
        let bytes = own.seal(&json, reader);
        let sender = own.public_key();
        Ok(SealedAnswer {
            proof: proof::of_answer(&self.transit, &sender, reader),
            sender,
            bytes: bytes.map_err(|_| GetSecretError::EncryptionError)?,
        })
    }

    fn asking(&self, context: &SecretContext, message: &Message) -> Result<Asking, GetSecretError> {
        let host = verified(&context.host_jwt, &[KeyKind::Host]);
        let host = host.map_err(GetSecretError::InvalidHostJWT)?;
        self.check_host(&host.subject, message)
            .map_err(|why| GetSecretError::InvalidHostJWT(why.to_owned()))?;
        let kinds = [KeyKind::Component, KeyKind::Provider];
        let entity = verified(&context.entity_jwt, &kinds);
        let entity = entity.map_err(GetSecretError::InvalidEntityJWT)?;
        let trusted = &self.trusted_issuers;
        let is_trusted = |issuer: &PublicKey| issuer.as_text() == entity.issuer;
        if !trusted.is_empty() && !trusted.iter().any(is_trusted) {
            let why = format!("issuer `{}` is not trusted", entity.issuer);
            return Err(GetSecretError::InvalidEntityJWT(why));
        }
        Ok(Asking {
            entity: entity.subject,
            issuer: entity.issuer,
            host: host.subject,
        })
    }

    /// Whether the host may ask, and is the one that it says it is.
    fn check_host(&self, host: &str, message: &Message) -> Result<(), &'static str> {
        if self.trusted_hosts.is_empty() {
            return Ok(());
        }
        let known = |trusted: &&PublicKey| trusted.as_text() == host;
        let trusted = self.trusted_hosts.iter().find(known);
        let trusted = trusted.ok_or("the host is not among those that may ask")?;
        let proof = header(message, PROOF).ok_or("the host does not prove who it is")?;
        let xkey = header(message, REQUEST_XKEY).unwrap_or_default();
        if proof::holds(trusted, xkey, &message.payload, proof) {
            Ok(())
        } else {
            Err("the proof is not that of the host")
        }
    }
}

impl From<MappingError> for GetSecretError {
    fn from(error: MappingError) -> Self {
        match error {
            MappingError::Entity { .. } | MappingError::TooMany { .. } => {
                Self::Other(error.to_string())
            }
            MappingError::Issuer { .. } => Self::InvalidEntityJWT(error.to_string()),
            other => Self::UpstreamError(other.to_string()),
        }
    }
}

impl From<VaultError> for GetSecretError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Key { .. } | VaultError::Version { .. } => Self::Other(error.to_string()),
            other => Self::UpstreamError(other.to_string()),
        }
    }
}

/// What a host is told of a value that could not be had. A key or version that cannot be one stays
/// wrong until the reference is changed: 1.x says so of a version by this error, which has no words.
fn not_had(error: VaultError) -> GetSecretError {
    match error {
        VaultError::Key { .. } | VaultError::Version { .. } => {
            if let Some(untold) = turn("a reference") {
                let error = clipped(&error);
                tracing::warn!(error, untold, "a reference asks for what cannot be");
            }
            GetSecretError::InvalidRequest
        }
        other => other.into(),
    }
}

/// How many refusals of this kind were not told since the last one, if one is to be told.
fn turn(kind: &str) -> Option<u64> {
    let mut refused = REFUSED.lock();
    let refused = refused.get_or_insert_with(|| KeyedThrottle::new(MAX_REFUSED));
    turn_of(refused, kind, Instant::now())
}

fn turn_of(refused: &mut KeyedThrottle<String, ()>, kind: &str, now: Instant) -> Option<u64> {
    if refused.is_full() {
        refused.forget_quiet(now);
    }
    let told = refused.note(kind.to_owned(), (), 0, now);
    told.map(|((), untold)| untold)
}

/// The beginning of what is as long as whoever asks has made it.
fn clipped(text: &dyn Display) -> String {
    lattice_core::text::clipped(text, LONGEST)
}

/// Opens a question; says whose key the answer is sealed for.
pub(crate) fn opened(
    transit: &CurveKey,
    message: &Message,
) -> Result<(CurveKey, Vec<u8>), GetSecretError> {
    let sender = header(message, REQUEST_XKEY).ok_or(GetSecretError::InvalidHeaders)?;
    let sender = CurveKey::from_public_key(sender).map_err(|_| GetSecretError::InvalidXKey)?;
    let opened = transit.open(&message.payload, &sender);
    let json = opened.map_err(|_| GetSecretError::DecryptionError)?;
    Ok((sender, json))
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message
        .headers
        .as_ref()?
        .get(name)
        .map(|value| value.as_str())
}

/// What is wrong is not repeated: it may be part of a value.
pub(crate) fn read<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T, GetSecretError> {
    serde_json::from_slice(json).map_err(|_| GetSecretError::InvalidPayload)
}

/// Checks all that a token says about itself, and that it is about one of these kinds.
pub(crate) fn verified(jwt: &str, kinds: &[KeyKind]) -> Result<Claims<Value>, String> {
    let claims = token::verify::<Value>(jwt, epoch_seconds());
    let claims = claims.map_err(|error| error.to_string())?;
    let subject = PublicKey::parse(&claims.subject).map_err(|error| error.to_string())?;
    if kinds.contains(&subject.kind()) {
        return Ok(claims);
    }
    Err(format!("the token is about a {}", subject.kind()))
}

/// One field of a secret that is a JSON object.
pub(crate) fn field_of(secret: Secret, field: &str) -> Option<Secret> {
    let version = secret.version.clone();
    let SecretValue::String(text) = secret.into_value()? else {
        return None;
    };
    let object: serde_json::Map<String, Value> = serde_json::from_str(&text).ok()?;
    let value = match object.get(field)? {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Some(Secret::new(version, SecretValue::String(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Secret {
        Secret::new("1", SecretValue::String(text.to_owned()))
    }

    #[test]
    fn a_field_of_a_structured_secret_is_taken_out() {
        let secret = text(r#"{"user":"me","port":5432}"#);
        assert_eq!(field_of(secret.clone(), "user"), Some(text("me")));
        assert_eq!(field_of(secret.clone(), "port"), Some(text("5432")));
        assert_eq!(field_of(secret, "none"), None);
        assert_eq!(field_of(text("plain"), "user"), None);
    }

    #[test]
    fn refusals_are_told_once_a_second_and_of_some_at_a_time() {
        let (mut refused, now) = (KeyedThrottle::new(MAX_REFUSED), Instant::now());
        let mut told = |entity: usize, now| turn_of(&mut refused, &entity.to_string(), now);
        let at_once = (0..1000).filter(|entity| told(*entity % 500, now).is_some());
        assert_eq!(at_once.count(), MAX_REFUSED);
        let untold = told(1000, now + lattice_rpc::throttle::THROTTLE_WINDOW);
        assert_eq!(untold, Some(1000 - MAX_REFUSED as u64));
    }

    #[test]
    fn no_more_is_told_of_a_key_than_its_beginning() {
        assert_eq!(clipped(&"ä".repeat(10_000)).chars().count(), LONGEST);
    }

    #[test]
    fn a_token_about_something_else_is_refused() {
        let error = verified("x.y.z", &[KeyKind::Host]).unwrap_err();
        assert!(!error.is_empty());
    }
}
