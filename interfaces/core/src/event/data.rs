//! The data of each kind of event. On the wire the keys are sorted, so the
//! order of the fields here is free.

use serde::{Deserialize, Deserializer, Serialize};

use crate::StringMap;
use crate::id::DEFAULT_NAME;
use crate::link::{Link, LinkState};
use crate::policy::PolicyKind;
use crate::reply::ErrorCode;

fn default_name() -> String {
    DEFAULT_NAME.to_owned()
}

/// A host has started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStarted {
    /// The name made up at start.
    pub friendly_name: String,
    /// Facts about the host.
    pub labels: StringMap,
    /// Always 0.
    pub uptime_seconds: u64,
    /// The version of the host program.
    pub version: String,
}

/// A host stops.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStopped {
    /// Facts about the host.
    pub labels: StringMap,
    /// Why it stops. Left out by 1.9 hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The claims of a component, as events show them.
///
/// The name is never written as null: orchestrators need a real text. 1.9 hosts write null, which is
/// read as empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentClaimsInfo {
    /// A short name to call it by.
    #[serde(default)]
    pub call_alias: Option<String>,
    /// The account that signed.
    pub issuer: String,
    /// Tags.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    /// The name.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub name: String,
    /// The version.
    #[serde(default)]
    pub version: Option<String>,
    /// The revision, which orchestrators cannot read below 0.
    #[serde(default)]
    pub revision: Option<i32>,
    /// Epoch seconds as text, or `never`.
    pub not_before_human: String,
    /// Epoch seconds as text, or `never`.
    pub expires_human: String,
}

/// The claims of a provider, as events show them.
///
/// Name and version are never written as null: orchestrators need real texts, and what the claims do
/// not say is an empty one. 1.9 hosts write null, which is read as empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderClaimsInfo {
    /// The account that signed.
    pub issuer: String,
    /// Always null.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    /// The name.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub name: String,
    /// The version.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub version: String,
    /// The revision, which is not below 0. Left out by 1.9 hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i32>,
    /// Epoch seconds as text, or `never`.
    pub not_before_human: String,
    /// Epoch seconds as text, or `never`.
    pub expires_human: String,
}

fn null_as_empty<'de, D: Deserializer<'de>>(text: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(text)?.unwrap_or_default())
}

/// The form of a time claim in events.
#[must_use]
pub fn claim_time(epoch_seconds: Option<u64>) -> String {
    epoch_seconds.map_or_else(|| "never".to_owned(), |seconds| seconds.to_string())
}

/// A component was scaled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentScaled {
    /// The component.
    pub component_id: String,
    /// The reference of the command.
    pub image_ref: String,
    /// How many instances may run at once.
    pub max_instances: u32,
    /// The host.
    pub host_id: String,
    /// Notes of whoever asked.
    #[serde(default)]
    pub annotations: StringMap,
    /// The subject of its claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Its claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<ComponentClaimsInfo>,
}

/// A component could not be scaled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentScaleFailed {
    /// The component.
    pub component_id: String,
    /// The reference of the command.
    pub image_ref: String,
    /// How many instances were asked for.
    pub max_instances: u32,
    /// The host.
    pub host_id: String,
    /// Notes of whoever asked.
    #[serde(default)]
    pub annotations: StringMap,
    /// Why, with every cause.
    pub error: String,
    /// The kind of failure, for programs. Left out by 1.9 hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// What to do about it. Left out by 1.9 hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The subject of its claims, if they could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// A provider process was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderStarted {
    /// The host.
    pub host_id: String,
    /// The reference without its scheme.
    pub image_ref: String,
    /// The provider.
    pub provider_id: String,
    /// Notes of whoever asked.
    #[serde(default)]
    pub annotations: StringMap,
    /// The provider id once more, as 1.9 hosts send it. They leave it out for what has no claims.
    #[serde(default)]
    pub instance_id: String,
    /// The provider id once more. 1.9 hosts leave it out for what has no claims.
    #[serde(default)]
    pub public_key: String,
    /// Always `default`.
    #[serde(default = "default_name")]
    pub link_name: String,
    /// Its claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<ProviderClaimsInfo>,
}

/// A provider could not be started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderStartFailed {
    /// The reference exactly as requested.
    pub provider_ref: String,
    /// The provider.
    pub provider_id: String,
    /// The host.
    pub host_id: String,
    /// Why, with every cause.
    pub error: String,
    /// The kind of failure, for programs. Left out by 1.9 hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// What to do about it. Left out by 1.9 hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Always `default`.
    #[serde(default = "default_name")]
    pub link_name: String,
}

/// A provider was stopped on request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderStopped {
    /// The host.
    pub host_id: String,
    /// The provider.
    pub provider_id: String,
    /// Notes of whoever started it.
    #[serde(default)]
    pub annotations: StringMap,
    /// Always `stop`.
    pub reason: String,
    /// The provider id once more.
    #[serde(default)]
    pub instance_id: String,
    /// The provider id once more.
    #[serde(default)]
    pub public_key: String,
    /// Always `default`.
    #[serde(default = "default_name")]
    pub link_name: String,
}

/// A provider process ended by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderExited {
    /// The host.
    pub host_id: String,
    /// The provider.
    pub provider_id: String,
    /// How it ended, such as `exit status: 1`.
    pub status: String,
    /// How many times in a row it was started again.
    pub restarts: u32,
    /// When it is started next, from now.
    pub restart_in_ms: u64,
}

/// A provider was asked for its health.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// The host.
    pub host_id: String,
    /// The provider.
    pub provider_id: String,
    /// What the provider says. Left out by 1.9 hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A link was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkdefSetFailed {
    /// The link.
    #[serde(flatten)]
    pub link: Link,
    /// Why.
    pub error: String,
}

/// A link was deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkdefDeleted {
    /// The source.
    pub source_id: String,
    /// The link name.
    #[serde(default = "default_name")]
    pub name: String,
    /// The namespace of the WIT package.
    pub wit_namespace: String,
    /// The WIT package.
    pub wit_package: String,
    /// The target of the link that was removed, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The interfaces of the link that was removed, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interfaces: Option<Vec<String>>,
}

/// A provider took a link or refused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatusChanged {
    /// The source.
    pub source_id: String,
    /// The target.
    pub target: String,
    /// The link name.
    pub name: String,
    /// The namespace of the WIT package.
    pub wit_namespace: String,
    /// The WIT package.
    pub wit_package: String,
    /// The provider that reports.
    pub endpoint: String,
    /// The host that runs it.
    pub host_id: String,
    /// How far it has come.
    pub state: LinkState,
    /// Why the link failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A call could not be answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvocationFailed {
    /// The host.
    pub host_id: String,
    /// The entity that was called, or that called when no target was found.
    pub component_id: String,
    /// Who called, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_id: Option<String>,
    /// The instance and function, such as `wasi:http/incoming-handler.handle`.
    pub operation: String,
    /// The kind of failure.
    pub code: ErrorCode,
    /// Why, with every cause.
    pub error: String,
    /// How many like it were left out since the last such event.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub suppressed: u64,
}

/// The token of something that runs has expired. It goes on, and is not started again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimsExpired {
    /// The host.
    pub host_id: String,
    /// The component or provider.
    pub id: String,
    /// Its image, as other events about it show it.
    pub image_ref: String,
    /// The subject of the token.
    pub public_key: String,
    /// The account that signed.
    pub issuer: String,
    /// When it expired, in epoch seconds.
    pub expired_at: u64,
}

/// Something runs without secrets that it had: the backend refuses them now, or what refers to them is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretsLost {
    /// The host.
    pub host_id: String,
    /// The component or provider.
    pub id: String,
    /// The references of which at least one cannot be followed.
    pub names: Vec<String>,
    /// The kind.
    pub code: ErrorCode,
    /// Why, with every cause.
    pub error: String,
}

/// A host takes most of the memory that its machine or control group gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMemoryHigh {
    /// The host.
    pub host_id: String,
    /// What its process takes, in bytes.
    pub resident_bytes: u64,
    /// What it may have, in bytes.
    pub limit_bytes: u64,
    /// The providers that run inside it, any of which may have it.
    pub builtin_providers: Vec<String>,
}

/// A host lets in calls that do not prove who makes them, while another host of its cluster, in the same
/// lattice, does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostNotStrict {
    /// The host that does.
    pub host_id: String,
    /// The one that does not.
    pub strict_host_id: String,
}

/// The policy service has changed a decision of before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyDecisionChanged {
    /// The host.
    pub host_id: String,
    /// The request that the decision answers.
    pub request_id: String,
    /// What it was about.
    pub kind: PolicyKind,
    /// Whether the host has leave now.
    pub permitted: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A call was refused because of who makes it, because that cannot be known, or because its caller has no
/// leave for what it asks, such as a subject or bucket of the lattice itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRefused {
    /// The host at which it was refused.
    pub host_id: String,
    /// The entity that was called.
    pub target_id: String,
    /// Who it says that it is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_id: Option<String>,
    /// Whose it is, where the host that tells of it has seen that proven: a provider, by its tokens or its
    /// ticket, a host, or a component that its host vouches for. Nothing where a provider process reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_id: Option<String>,
    /// The instance and function.
    pub operation: String,
    /// Why, in a word: the code that the caller is told.
    pub code: String,
    /// Why, in a sentence.
    pub error: String,
    /// How many like it were left out since the last such event.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub suppressed: u64,
}

/// The NATS server refused somebody a subject that their credentials do not reach. A host tells it
/// of its own connections, and of all others where it reads the server's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusRefused {
    /// The host that tells it.
    pub host_id: String,
    /// Who tried, as the server names them: the account and the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The provider whose user that is, where this host gave it its credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// `publish` or `subscribe`.
    pub action: String,
    /// To what.
    pub subject: String,
    /// To what else of the same sort it was tried since the last such event, as far as there is room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// How many like it were left out since the last such event, those that are named besides among them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub suppressed: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A config was stored or deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChanged {
    /// The name of the config.
    pub config_name: String,
}

/// The labels of a host changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelsChanged {
    /// The host.
    pub host_id: String,
    /// All its labels.
    pub labels: StringMap,
}
