//! Doors for the fuzz targets to what is private here. They are no part of the interface: they
//! change with what is behind them.

use std::collections::BTreeSet;

use async_nats::Message;
use lattice_claims::{CurveKey, KeyKind, PublicKey};
use lattice_core::provider::SecretValue;
use lattice_core::secrets::{PutSecretRequest, Secret, SecretRequest};

use crate::{handler, mappings, proof, vault};

/// What the bucket of mappings holds about an entity; `None` when it is no list.
pub fn listed(stored: &[u8]) -> Option<BTreeSet<String>> {
    mappings::listed("", stored).ok()
}

/// Whether a text can be an entity.
pub fn is_entity(text: &str) -> bool {
    mappings::check(text).is_ok()
}

/// Whether a text can be the key of a secret.
pub fn is_key(text: &str) -> bool {
    vault::check_key(text).is_ok()
}

/// A value as the bucket of secrets holds it; `None` when it was put under another key. What 1.x has
/// sealed is bound to none.
pub fn stored(key: &CurveKey, name: &str, sealed: &[u8]) -> Option<SecretValue> {
    vault::open(key, name, sealed).ok()
}

/// Seals a value for the bucket of secrets.
pub fn sealed(key: &CurveKey, request: &PutSecretRequest) -> Option<Vec<u8>> {
    vault::seal(key, request).ok()
}

/// One field of a secret.
pub fn field(secret: Secret, name: &str) -> Option<Secret> {
    handler::field_of(secret, name)
}

/// What a host asks the backend for, with the tokens in it looked at; `None` when it cannot be read.
pub fn question(transit: &CurveKey, message: &Message) -> Option<SecretRequest> {
    let (_sender, json) = handler::opened(transit, message).ok()?;
    let request: SecretRequest = handler::read(&json).ok()?;
    let context = &request.context;
    let _host = handler::verified(&context.host_jwt, &[KeyKind::Host]);
    let kinds = [KeyKind::Component, KeyKind::Provider];
    let _entity = handler::verified(&context.entity_jwt, &kinds);
    Some(request)
}

/// Whether a question is proven to be that of a host.
pub fn is_question_of(host: &PublicKey, xkey: &str, sealed: &[u8], proof: &str) -> bool {
    proof::holds(host, xkey, sealed, proof)
}

/// Whether an answer is proven to be that of a backend.
pub fn is_answer_of(server: &CurveKey, sender: &str, reader: &CurveKey, proof: &str) -> bool {
    proof::is_answer_of(server, sender, reader, Some(proof))
}
