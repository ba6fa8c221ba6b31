//! Asks the hosts of a lattice.

mod error;
mod events;
mod gather;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Request;
use bytes::Bytes;
use lattice_core::event::EventKind;
use lattice_core::host::{Host, HostInventory};
use lattice_core::subject::{ControlOp, ControlSubjects, TopicPrefix};
use lattice_core::{
    ComponentId, ConfigName, CtlResponse, HostId, ImageRef, InvalidId, LatticeName, Link, LinkKey,
    StringMap,
};
use lattice_rpc::TraceContext;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::trace;
use crate::types::{
    ClaimsMap, ComponentAuctionAck, ComponentAuctionRequest, DeleteLinkRequest, HostLabel,
    HostLabelIdentifier, ProviderAuctionAck, ProviderAuctionRequest, RegistryCredentials,
    ScaleComponentCommand, StartProviderCommand, StopHostCommand, StopProviderCommand,
    UpdateComponentCommand,
};

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

    /// Collects the hosts that are there. A lattice without hosts gives an empty list.
    ///
    /// # Errors
    ///
    /// Fails when NATS cannot be reached.
    pub async fn ping(&self, options: GatherOptions) -> Result<Vec<Host>, ClientError> {
        match self
            .gather(&ControlOp::HostPing, Bytes::new(), options)
            .await
        {
            Err(ClientError::NoResponders { .. }) => Ok(Vec::new()),
            result => result,
        }
    }

    /// Collects bids for a component.
    ///
    /// # Errors
    ///
    /// Fails with [`ClientError::NoResponders`] when the lattice has no hosts, and when a name
    /// breaks a rule or NATS cannot be reached.
    pub async fn auction_component(
        &self,
        mut request: ComponentAuctionRequest,
        options: GatherOptions,
    ) -> Result<Vec<ComponentAuctionAck>, ClientError> {
        request.component_id = entity(&request.component_id)?;
        request.component_ref = image(&request.component_ref)?;
        let op = ControlOp::ComponentAuction;
        self.gather(&op, encode(&op, &request)?, options).await
    }

    /// Collects bids for a provider.
    ///
    /// # Errors
    ///
    /// See [`Client::auction_component`].
    pub async fn auction_provider(
        &self,
        mut request: ProviderAuctionRequest,
        options: GatherOptions,
    ) -> Result<Vec<ProviderAuctionAck>, ClientError> {
        request.provider_id = entity(&request.provider_id)?;
        request.provider_ref = image(&request.provider_ref)?;
        let op = ControlOp::ProviderAuction;
        self.gather(&op, encode(&op, &request)?, options).await
    }

    /// Starts, scales or stops a component.
    ///
    /// # Errors
    ///
    /// Fails when a name breaks a rule, nobody answers or the host refuses.
    pub async fn scale_component(
        &self,
        host: &HostId,
        mut command: ScaleComponentCommand,
    ) -> Result<String, ClientError> {
        command.component_id = entity(&command.component_id)?;
        // A stop needs no image.
        if command.count > 0 || !command.component_ref.trim().is_empty() {
            command.component_ref = image(&command.component_ref)?;
        }
        command.host_id = host.to_string();
        self.change(ControlOp::ComponentScale(host.clone()), &command)
            .await
    }

    /// Replaces the image of a running component.
    ///
    /// # Errors
    ///
    /// Fails when a name breaks a rule, nobody answers or the host refuses.
    pub async fn update_component(
        &self,
        host: &HostId,
        mut command: UpdateComponentCommand,
    ) -> Result<String, ClientError> {
        command.component_id = entity(&command.component_id)?;
        command.new_component_ref = image(&command.new_component_ref)?;
        command.host_id = host.to_string();
        self.change(ControlOp::ComponentUpdate(host.clone()), &command)
            .await
    }

    /// Starts a provider.
    ///
    /// # Errors
    ///
    /// Fails when a name breaks a rule, nobody answers or the host refuses.
    pub async fn start_provider(
        &self,
        host: &HostId,
        mut command: StartProviderCommand,
    ) -> Result<String, ClientError> {
        command.provider_id = entity(&command.provider_id)?;
        command.provider_ref = image(&command.provider_ref)?;
        command.host_id = host.to_string();
        self.change(ControlOp::ProviderStart(host.clone()), &command)
            .await
    }

    /// Stops a provider.
    ///
    /// # Errors
    ///
    /// Fails when the id breaks a rule, nobody answers or the host refuses.
    pub async fn stop_provider(&self, host: &HostId, id: &str) -> Result<String, ClientError> {
        let command = StopProviderCommand {
            host_id: host.to_string(),
            provider_id: entity(id)?,
        };
        self.change(ControlOp::ProviderStop(host.clone()), &command)
            .await
    }

    /// Asks a host what it runs.
    ///
    /// # Errors
    ///
    /// Fails when nobody answers or the host refuses.
    pub async fn inventory(&self, host: &HostId) -> Result<HostInventory, ClientError> {
        self.ask(ControlOp::HostGet(host.clone())).await
    }

    /// Stops a host; without `within` the host decides how long it takes.
    ///
    /// # Errors
    ///
    /// Fails when nobody answers or the host refuses.
    pub async fn stop_host(
        &self,
        host: &HostId,
        within: Option<Duration>,
    ) -> Result<String, ClientError> {
        let timeout = within.map(|within| u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        let command = StopHostCommand {
            host_id: host.to_string(),
            timeout,
        };
        self.change(ControlOp::HostStop(host.clone()), &command)
            .await
    }

    /// Sets a label of a host.
    ///
    /// # Errors
    ///
    /// Fails when the key is blank, nobody answers or the host refuses.
    pub async fn put_label(
        &self,
        host: &HostId,
        key: &str,
        value: &str,
    ) -> Result<String, ClientError> {
        let label = HostLabel {
            key: not_blank("label key", key)?,
            value: value.to_owned(),
        };
        self.change(ControlOp::LabelPut(host.clone()), &label).await
    }

    /// Deletes a label of a host.
    ///
    /// # Errors
    ///
    /// Fails when the key is blank, nobody answers or the host refuses.
    pub async fn delete_label(&self, host: &HostId, key: &str) -> Result<String, ClientError> {
        let label = HostLabelIdentifier {
            key: not_blank("label key", key)?,
        };
        self.change(ControlOp::LabelDelete(host.clone()), &label)
            .await
    }

    /// Asks for all claims.
    ///
    /// # Errors
    ///
    /// Fails when nobody answers or the host refuses.
    pub async fn claims(&self) -> Result<Vec<ClaimsMap>, ClientError> {
        self.ask(ControlOp::ClaimsGet).await
    }

    /// Asks for all links.
    ///
    /// # Errors
    ///
    /// Fails when nobody answers or the host refuses.
    pub async fn links(&self) -> Result<Vec<Link>, ClientError> {
        self.ask(ControlOp::LinkGet).await
    }

    /// Stores a link.
    ///
    /// # Errors
    ///
    /// Fails when a name breaks a rule, nobody answers or the host refuses.
    pub async fn put_link(&self, link: &Link) -> Result<String, ClientError> {
        let mut link = Link {
            status: Vec::new(),
            ..link.clone()
        };
        for name in [
            &mut link.source_id,
            &mut link.target,
            &mut link.name,
            &mut link.wit_namespace,
            &mut link.wit_package,
        ] {
            *name = name.trim().to_owned();
        }
        link.check()?;
        self.change(ControlOp::LinkPut, &link).await
    }

    /// Deletes a link.
    ///
    /// # Errors
    ///
    /// Fails when nobody answers or the host refuses.
    pub async fn delete_link(&self, link: &LinkKey) -> Result<String, ClientError> {
        self.change(ControlOp::LinkDelete, &DeleteLinkRequest::new(link))
            .await
    }

    /// Reads a config; `None` when there is no such one.
    ///
    /// # Errors
    ///
    /// Fails when nobody answers or the host refuses.
    pub async fn config(&self, name: &ConfigName) -> Result<Option<StringMap>, ClientError> {
        let op = ControlOp::ConfigGet(name.clone());
        let response: CtlResponse<StringMap> = self.request(&op, Bytes::new()).await?;
        Ok(response.response)
    }

    /// Stores a config in place of the one that was there.
    ///
    /// # Errors
    ///
    /// Fails when nobody answers or the host refuses.
    pub async fn put_config(
        &self,
        name: &ConfigName,
        config: &StringMap,
    ) -> Result<String, ClientError> {
        self.change(ControlOp::ConfigPut(name.clone()), config)
            .await
    }

    /// Deletes a config, whether or not it is there.
    ///
    /// # Errors
    ///
    /// Fails when nobody answers or the host refuses.
    pub async fn delete_config(&self, name: &ConfigName) -> Result<String, ClientError> {
        let op = ControlOp::ConfigDelete(name.clone());
        let response: CtlResponse<StringMap> = self.request(&op, Bytes::new()).await?;
        Ok(response.message)
    }

    /// Sends credentials of registries to every host, without waiting for answers.
    ///
    /// # Errors
    ///
    /// Fails when NATS cannot be reached.
    pub async fn put_registries(
        &self,
        credentials: &RegistryCredentials,
    ) -> Result<(), ClientError> {
        let op = ControlOp::RegistryPut;
        let payload = encode(&op, credentials)?;
        self.publish(&op, None, payload).await
    }

    /// Subscribes to events of the given kinds; to all when none are given.
    ///
    /// When this returns, NATS delivers every such event to the stream.
    ///
    /// # Errors
    ///
    /// Fails when NATS cannot be reached.
    pub async fn events(&self, kinds: &[EventKind]) -> Result<EventStream, ClientError> {
        EventStream::subscribe(&self.nats, &self.config, kinds).await
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

fn entity(text: &str) -> Result<String, InvalidId> {
    ComponentId::new(text.trim()).map(String::from)
}

fn image(text: &str) -> Result<String, InvalidId> {
    ImageRef::new(text.trim()).map(String::from)
}

fn not_blank(kind: &'static str, text: &str) -> Result<String, InvalidId> {
    let text = text.trim();
    if text.is_empty() {
        let rule = lattice_core::id::IdRule::Empty;
        return Err(InvalidId {
            kind,
            text: String::new(),
            rule,
        });
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_blank_ones_refused() {
        assert_eq!(entity(" a ").unwrap(), "a");
        assert_eq!(image("\tfile:///a.wasm\n").unwrap(), "file:///a.wasm");
        assert!(entity(" ").is_err() && image("").is_err());
        let error = not_blank("label key", "  ").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`` is not a valid label key: it is empty"
        );
    }

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
