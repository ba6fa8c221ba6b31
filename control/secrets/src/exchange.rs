//! One sealed question and its answer.

#![expect(
    clippy::disallowed_methods,
    reason = "owns the subjects of secrets backends, for those who ask"
)]

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, HeaderMap, Message, Request};
use bytes::Bytes;
use lattice_claims::{CurveKey, SigningKey};
use lattice_core::BackendName;
use lattice_core::secrets::{REQUEST_XKEY, RESPONSE_XKEY};

use crate::error::AskError;
use crate::proof::{self, ANSWER_PROOF, PROOF};

/// The header that names who signs for the entity of a mapping; backends of 1.x do not look at it.
pub(crate) const ISSUER: &str = "Lattice-Issuer";

/// What a backend answered: opened when it was sealed.
#[derive(Debug)]
pub(crate) enum Answer {
    Sealed(Vec<u8>),
    Plain(Bytes),
}

/// Who is asked, and how long it is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) nats: &'a Client,
    pub(crate) backend: &'a BackendName,
    pub(crate) within: Duration,
    /// Signs sealed questions.
    pub(crate) host: Option<&'a SigningKey>,
    /// Whether sealed answers have to be proven to be those of who has the key of the backend.
    pub(crate) is_pinned: bool,
}

impl Asked<'_> {
    /// Asks without a word, or with plain words.
    pub(crate) async fn plain(&self, subject: String, payload: Bytes) -> Result<Message, AskError> {
        self.request(subject, Request::new().payload(payload)).await
    }

    /// Asks with plain words about an entity for which `issuer` signs.
    pub(crate) async fn plain_of(
        &self,
        subject: String,
        payload: Bytes,
        issuer: &str,
    ) -> Result<Message, AskError> {
        let mut headers = HeaderMap::new();
        headers.insert(ISSUER, issuer);
        let request = Request::new().headers(headers).payload(payload);
        self.request(subject, request).await
    }

    /// Asks with a key that is made for this question alone, and opens the answer with it.
    pub(crate) async fn sealed(
        &self,
        subject: String,
        question: &[u8],
        server: &CurveKey,
    ) -> Result<Answer, AskError> {
        let own = CurveKey::generate();
        let sealed = own.seal(question, server);
        let sealed = sealed.map_err(|source| AskError::Seal {
            backend: self.backend.clone(),
            source,
        })?;
        let mut headers = HeaderMap::new();
        let xkey = own.public_key();
        let proof = self.host.and_then(|host| proof::sign(host, &xkey, &sealed));
        headers.insert(REQUEST_XKEY, xkey);
        if let Some(proof) = proof {
            headers.insert(PROOF, proof);
        }
        let request = Request::new().headers(headers).payload(sealed.into());
        let reply = self.request(subject, request).await?;
        let headers = reply.headers.as_ref();
        let Some(sender) = headers.and_then(|headers| headers.get(RESPONSE_XKEY)) else {
            return Ok(Answer::Plain(reply.payload));
        };
        let name = sender.as_str();
        let proof = headers.and_then(|headers| headers.get(ANSWER_PROOF));
        let proof = proof.map(|proof| proof.as_str());
        if self.is_pinned && !proof::is_answer_of(server, name, &own, proof) {
            let backend = self.backend.clone();
            return Err(AskError::Unproven { backend });
        }
        let sender = self.key(name)?;
        let opened = own.open(&reply.payload, &sender);
        opened.map(Answer::Sealed).map_err(|source| AskError::Open {
            backend: self.backend.clone(),
            source,
        })
    }

    /// Reads a key that the backend names.
    pub(crate) fn key(&self, text: &str) -> Result<CurveKey, AskError> {
        CurveKey::from_public_key(text.trim()).map_err(|source| AskError::Key {
            backend: self.backend.clone(),
            source,
        })
    }

    async fn request(&self, subject: String, request: Request) -> Result<Message, AskError> {
        let request = request.timeout(Some(self.within));
        let reply = self.nats.send_request(subject.clone(), request).await;
        reply.map_err(|error| match error.kind() {
            RequestErrorKind::TimedOut => AskError::Timeout {
                backend: self.backend.clone(),
                within: self.within,
            },
            RequestErrorKind::NoResponders => AskError::NoBackend {
                backend: self.backend.clone(),
                subject,
            },
            _ => AskError::Transport {
                backend: self.backend.clone(),
                reason: error.to_string(),
            },
        })
    }
}
