//! Asks the hosts of a lattice.

mod error;
mod events;
mod gather;
mod operations;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Request;
use bytes::Bytes;
use lattice_core::subject::{ControlOp, ControlSubjects, TopicPrefix};
use lattice_core::{CtlResponse, LatticeName};
use lattice_rpc::TraceContext;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::trace;

pub use error::ClientError;
pub use events::EventStream;
pub use gather::GatherOptions;

/// Says which trace a request belongs to.
pub type TraceSource = Arc<dyn Fn() -> Option<TraceContext> + Send + Sync>;

/// Whom to ask and how long to wait.
#[derive(Clone)]
pub struct ClientConfig {
    /// The lattice.
    pub lattice: LatticeName,
    /// What subjects start with.
    pub topic_prefix: TopicPrefix,
    /// How long to wait for an answer of one host.
    pub timeout: Duration,
    /// How long to collect answers of many hosts.
    pub auction_timeout: Duration,
    /// Puts requests into the caller's trace.
    pub trace: Option<TraceSource>,
}

impl ClientConfig {
    /// The usual settings for a lattice.
    #[must_use]
    pub fn new(lattice: LatticeName) -> Self {
        Self {
            lattice,
            ..Self::default()
        }
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            lattice: LatticeName::default(),
            topic_prefix: TopicPrefix::default(),
            timeout: Duration::from_secs(2),
            auction_timeout: Duration::from_secs(5),
            trace: None,
        }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("lattice", &self.lattice)
            .field("topic_prefix", &self.topic_prefix)
            .field("timeout", &self.timeout)
            .field("auction_timeout", &self.auction_timeout)
            .finish_non_exhaustive()
    }
}

/// A client of the control interface of one lattice. Cheap to clone.
///
/// Methods that change something return the text of the reply, which may be empty. Blanks
/// around names and references are removed; blank names are refused before anything is sent.
#[derive(Debug, Clone)]
pub struct Client {
    nats: async_nats::Client,
    config: ClientConfig,
    subjects: ControlSubjects,
}

impl Client {
    /// A client on a connection.
    #[must_use]
    pub fn new(nats: async_nats::Client, config: ClientConfig) -> Self {
        let subjects = ControlSubjects::new(&config.topic_prefix, &config.lattice);
        Self {
            nats,
            config,
            subjects,
        }
    }

    /// The lattice that is asked.
    #[must_use]
    pub fn lattice(&self) -> &LatticeName {
        &self.config.lattice
    }

    /// The connection in use.
    #[must_use]
    pub fn nats(&self) -> &async_nats::Client {
        &self.nats
    }

    /// Asks for data that has to be there.
    async fn ask<T: DeserializeOwned>(&self, op: ControlOp) -> Result<T, ClientError> {
        let response: CtlResponse<T> = self.request(&op, Bytes::new()).await?;
        response.response.ok_or_else(|| ClientError::NoData {
            operation: operation(&op),
        })
    }

    /// Sends a command and returns the text of the reply.
    async fn change(&self, op: ControlOp, body: &impl Serialize) -> Result<String, ClientError> {
        let payload = encode(&op, body)?;
        let response: CtlResponse<serde_json::Value> = self.request(&op, payload).await?;
        Ok(response.message)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "owns the subjects of control, asking"
    )]
    async fn request<T: DeserializeOwned>(
        &self,
        op: &ControlOp,
        payload: Bytes,
    ) -> Result<CtlResponse<T>, ClientError> {
        self.check_size(op, &payload)?;
        let subject = self.subjects.subject(op);
        let request = Request::new()
            .timeout(Some(self.config.timeout))
            .headers(self.headers())
            .payload(payload);
        let message = self
            .nats
            .send_request(subject.clone(), request)
            .await
            .map_err(|error| ClientError::of_request(op, &subject, self.config.timeout, error))?;
        decode(op, &message.payload)
    }

    fn headers(&self) -> async_nats::HeaderMap {
        let source = self.config.trace.as_ref();
        trace::headers(source.and_then(|source| source()).as_ref())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "owns the subjects of control, asking"
    )]
    async fn publish(
        &self,
        op: &ControlOp,
        reply: Option<&str>,
        payload: Bytes,
    ) -> Result<(), ClientError> {
        self.check_size(op, &payload)?;
        let (subject, headers) = (self.subjects.subject(op), self.headers());
        let sent = async {
            match reply {
                Some(inbox) => {
                    let inbox = inbox.to_owned();
                    self.nats
                        .publish_with_reply_and_headers(subject, inbox, headers, payload)
                        .await
                }
                None => {
                    self.nats
                        .publish_with_headers(subject, headers, payload)
                        .await
                }
            }
            .map_err(|error| ClientError::transport(op, error))?;
            self.nats
                .flush()
                .await
                .map_err(|error| ClientError::transport(op, error))
        };
        match tokio::time::timeout(self.config.timeout, sent).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::timeout(op, self.config.timeout)),
        }
    }

    fn check_size(&self, op: &ControlOp, payload: &Bytes) -> Result<(), ClientError> {
        let (size, max) = (payload.len(), self.nats.max_payload());
        if size <= max {
            return Ok(());
        }
        Err(ClientError::TooLarge {
            operation: operation(op),
            size,
            max,
        })
    }
}

/// The name of an operation in messages, such as `component.scale`.
fn operation(op: &ControlOp) -> String {
    let (noun, verb) = op.noun_and_verb();
    format!("{noun}.{verb}")
}

fn encode(op: &ControlOp, body: &impl Serialize) -> Result<Bytes, ClientError> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(|source| ClientError::Encode {
            operation: operation(op),
            source,
        })
}

/// Decodes a reply; a refusal is an error.
fn decode<T: DeserializeOwned>(
    op: &ControlOp,
    payload: &[u8],
) -> Result<CtlResponse<T>, ClientError> {
    let response: CtlResponse<T> =
        serde_json::from_slice(payload).map_err(|source| ClientError::BadReply {
            operation: operation(op),
            source,
        })?;
    if response.success {
        return Ok(response);
    }
    Err(ClientError::Refused {
        operation: operation(op),
        code: response.code,
        message: response.message,
        cause: response.cause,
        hint: response.hint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_both_generations_are_errors() {
        let op = ControlOp::LinkPut;
        let old = br#"{"success":false,"message":"no"}"#;
        let Err(ClientError::Refused { code, message, .. }) = decode::<()>(&op, old) else {
            panic!("not refused");
        };
        assert_eq!((code, message.as_str()), (None, "no"));
        let new = br#"{"success":false,"message":"no","code":"busy","cause":"c","hint":"h"}"#;
        let error = decode::<()>(&op, new).unwrap_err();
        assert_eq!(error.to_string(), "`link.put` was refused: no: c");
        assert_eq!(error.hint().as_deref(), Some("h"));
        assert!(matches!(
            decode::<()>(&op, b""),
            Err(ClientError::BadReply { .. })
        ));
    }
}
