//! What a host does when it is asked: one method per operation.

use std::fmt;

use async_trait::async_trait;
use lattice_core::host::{Host, HostInventory};
use lattice_core::reply::message_chain;
use lattice_core::{ConfigName, CtlResponse, ErrorCode, InvalidId, Link, StringMap};
use serde::Serialize;

use crate::types::{
    ClaimsMap, ComponentAuctionAck, ComponentAuctionRequest, DeleteLinkRequest, HostLabel,
    HostLabelIdentifier, ProviderAuctionAck, ProviderAuctionRequest, RegistryCredentials,
    ScaleComponentCommand, StartProviderCommand, StopHostCommand, StopProviderCommand,
    UpdateComponentCommand,
};

/// The data of an operation that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum NoData {}

/// How an operation succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T = NoData> {
    /// With the data asked for.
    Data(T),
    /// With a text and without data; the text may be empty.
    Message(String),
}

impl<T> Outcome<T> {
    /// A success with a text.
    pub fn message(text: impl Into<String>) -> Self {
        Self::Message(text.into())
    }

    /// A success that says nothing more.
    #[must_use]
    pub fn bare() -> Self {
        Self::Message(String::new())
    }

    /// The reply in its envelope.
    pub fn into_response(self) -> CtlResponse<T> {
        match self {
            Self::Data(data) => CtlResponse::data(data),
            Self::Message(text) => CtlResponse::message(text),
        }
    }
}

/// The result of an operation that answers with data.
pub type Reply<T> = Result<Outcome<T>, ControlError>;

/// The result of an operation that answers with a text.
pub type Done = Result<Outcome, ControlError>;

/// Why an operation was refused, as it crosses the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlError {
    /// The kind of failure, for programs.
    pub code: ErrorCode,
    /// What failed, and why.
    pub message: String,
    /// Why, when the message is a text that old clients know and that has to stay as it is.
    pub cause: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ControlError {
    /// A failure with a text of its own.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            cause: None,
            hint: None,
        }
    }

    /// A failure whose text is that of an error with all its causes.
    #[must_use]
    pub fn from_error(code: ErrorCode, error: &dyn std::error::Error) -> Self {
        Self::new(code, message_chain(error))
    }

    /// Adds the causes of a failure whose message has to stay as it is.
    #[must_use]
    pub fn because(mut self, error: &dyn std::error::Error) -> Self {
        self.cause = Some(message_chain(error));
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The reply in its envelope.
    #[must_use]
    pub fn into_response<T>(self) -> CtlResponse<T> {
        CtlResponse {
            cause: self.cause,
            hint: self.hint,
            ..CtlResponse::failure(self.code, self.message)
        }
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ControlError {}

impl From<InvalidId> for ControlError {
    fn from(error: InvalidId) -> Self {
        Self::from_error(ErrorCode::InvalidId, &error).with_hint(error.hint())
    }
}

/// What a host can be asked for.
///
/// The server decodes requests and encodes results; an implementation deals with plain types.
/// Ids in commands are as the client sent them and have not been checked.
#[async_trait]
pub trait ControlApi: Send + Sync + 'static {
    /// Bids for a component; `None` stays silent.
    async fn auction_component(
        &self,
        request: ComponentAuctionRequest,
    ) -> Option<ComponentAuctionAck>;

    /// Bids for a provider; `None` stays silent.
    async fn auction_provider(&self, request: ProviderAuctionRequest)
    -> Option<ProviderAuctionAck>;

    /// Starts, scales or stops a component. The reply comes before the work; events tell the end.
    async fn scale_component(&self, command: ScaleComponentCommand) -> Done;

    /// Replaces the image of a running component.
    async fn update_component(&self, command: UpdateComponentCommand) -> Done;

    /// Starts a provider. The reply comes before the work; events tell the end.
    async fn start_provider(&self, command: StartProviderCommand) -> Done;

    /// Stops a provider and waits for its end.
    async fn stop_provider(&self, command: StopProviderCommand) -> Done;

    /// What runs on this host.
    async fn inventory(&self) -> Reply<HostInventory>;

    /// Says that this host is there.
    async fn ping(&self) -> Reply<Host>;

    /// Begins to stop this host. The server has made sure that the command is meant for it.
    async fn stop_host(&self, command: StopHostCommand) -> Done;

    /// Sets a label.
    async fn put_label(&self, label: HostLabel) -> Done;

    /// Deletes a label.
    async fn delete_label(&self, label: HostLabelIdentifier) -> Done;

    /// All claims of the lattice.
    async fn claims(&self) -> Reply<Vec<ClaimsMap>>;

    /// All links of the lattice.
    async fn links(&self) -> Reply<Vec<Link>>;

    /// Stores a link.
    async fn put_link(&self, link: Link) -> Done;

    /// Deletes a link.
    async fn delete_link(&self, request: DeleteLinkRequest) -> Done;

    /// Reads a config; one that does not exist is a success without data.
    async fn config(&self, name: ConfigName) -> Reply<StringMap>;

    /// Stores a config.
    async fn put_config(&self, name: ConfigName, config: StringMap) -> Done;

    /// Deletes a config.
    async fn delete_config(&self, name: ConfigName) -> Done;

    /// Sets credentials of registries.
    async fn put_registries(&self, credentials: RegistryCredentials) -> Done;
}
