//! Lattice events: the CloudEvents envelope and the data of every kind.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::host::HostInventory;
use crate::id::HostId;
use crate::json::Sorted;

mod data;
pub use data::*;

/// What stands before the event name in the `type` attribute.
pub const EVENT_TYPE_PREFIX: &str = "com.wasmcloud.lattice.";

macro_rules! events {
    ($($(#[$meta:meta])* $name:ident($data:ty) = $text:literal,)*) => {
        /// The kinds of events this version knows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum EventKind {
            $($(#[$meta])* $name,)*
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The last token of the event's subject and of its type.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }

        /// An event with its data.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum Event {
            $($(#[$meta])* $name($data),)*
            /// An event of a kind this version does not know, or whose data it cannot read.
            Other(OtherEvent),
        }

        impl Event {
            /// The kind, unless that or the data is unknown.
            #[must_use]
            pub fn kind(&self) -> Option<EventKind> {
                match self {
                    $(Self::$name(_) => Some(EventKind::$name),)*
                    Self::Other(_) => None,
                }
            }

            fn data(&self) -> Result<Value, serde_json::Error> {
                match self {
                    $(Self::$name(data) => serde_json::to_value(data),)*
                    Self::Other(other) => Ok(other.data.clone()),
                }
            }

            /// Other versions leave out what this one needs, or write it otherwise. What can be read of
            /// such an event, that it happened and to whom, is more than nothing.
            fn from_parts(name: &str, data: Value) -> Self {
                let read = match name.parse::<EventKind>() {
                    $(Ok(EventKind::$name) => Deserialize::deserialize(&data).map(Self::$name).ok(),)*
                    Err(_) => None,
                };
                read.unwrap_or_else(|| Self::Other(OtherEvent { name: name.to_owned(), data }))
            }
        }
    };
}

events! {
    /// A host has loaded its state and listens.
    HostStarted(HostStarted) = "host_started",
    /// A host stops in an orderly way.
    HostStopped(HostStopped) = "host_stopped",
    /// The regular report of a host.
    HostHeartbeat(HostInventory) = "host_heartbeat",
    /// A component runs with this limit of instances; 0 means stopped.
    ComponentScaled(ComponentScaled) = "component_scaled",
    /// A component could not be started or scaled.
    ComponentScaleFailed(ComponentScaleFailed) = "component_scale_failed",
    /// A provider process was started.
    ProviderStarted(ProviderStarted) = "provider_started",
    /// A provider could not be started.
    ProviderStartFailed(ProviderStartFailed) = "provider_start_failed",
    /// A provider was stopped on request.
    ProviderStopped(ProviderStopped) = "provider_stopped",
    /// A provider process ended by itself. Not known to 1.9 peers.
    ProviderExited(ProviderExited) = "provider_exited",
    /// A provider became healthy.
    HealthCheckPassed(HealthCheck) = "health_check_passed",
    /// A provider became unhealthy.
    HealthCheckFailed(HealthCheck) = "health_check_failed",
    /// A provider is as healthy as before.
    HealthCheckStatus(HealthCheck) = "health_check_status",
    /// A link was stored.
    LinkdefSet(crate::link::Link) = "linkdef_set",
    /// A link was refused.
    LinkdefSetFailed(LinkdefSetFailed) = "linkdef_set_failed",
    /// A link was deleted.
    LinkdefDeleted(LinkdefDeleted) = "linkdef_deleted",
    /// A provider took a link or refused it. Not known to 1.9 peers.
    LinkStatusChanged(LinkStatusChanged) = "link_status_changed",
    /// A call could not be answered. Not known to 1.9 peers.
    InvocationFailed(InvocationFailed) = "invocation_failed",
    /// A call was refused because of who makes it. Not known to 1.9 peers.
    CallRefused(CallRefused) = "call_refused",
    /// The NATS server refused somebody a subject. Not known to 1.9 peers.
    BusRefused(BusRefused) = "bus_refused",
    /// A host takes most of the memory that it may have. Not known to 1.9 peers.
    HostMemoryHigh(HostMemoryHigh) = "host_memory_high",
    /// A host lets in calls without proof, and another of its lattice does not. Not known to 1.9 peers.
    HostNotStrict(HostNotStrict) = "host_not_strict",
    /// The token of what runs has expired. Not known to 1.9 peers.
    ClaimsExpired(ClaimsExpired) = "claims_expired",
    /// Something runs without secrets that it had. Not known to 1.9 peers.
    SecretsLost(SecretsLost) = "secrets_lost",
    /// The policy service has changed a decision. Not known to 1.9 peers.
    PolicyDecisionChanged(PolicyDecisionChanged) = "policy_decision_changed",
    /// A config was stored.
    ConfigSet(ConfigChanged) = "config_set",
    /// A config was deleted.
    ConfigDeleted(ConfigChanged) = "config_deleted",
    /// The labels of a host changed.
    LabelsChanged(LabelsChanged) = "labels_changed",
}

impl Event {
    /// The event's name, the last token of its subject.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Other(other) => &other.name,
            // Only `Other` has no kind.
            known => known.kind().map_or("", EventKind::name),
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no event of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no event `{0}`")]
pub struct UnknownEvent(pub String);

impl FromStr for EventKind {
    type Err = UnknownEvent;

    fn from_str(name: &str) -> Result<Self, UnknownEvent> {
        let found = Self::ALL.iter().find(|kind| kind.name() == name);
        found
            .copied()
            .ok_or_else(|| UnknownEvent(name.chars().take(80).collect()))
    }
}

/// An event of a kind this version does not know.
#[derive(Debug, Clone, PartialEq)]
pub struct OtherEvent {
    /// The name from its type.
    pub name: String,
    /// The data as it came.
    pub data: Value,
}

/// An event in its CloudEvents envelope.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudEvent {
    /// A unique text.
    pub id: String,
    /// The host that reports; the only trustworthy host id of an event.
    pub source: String,
    /// When it happened, RFC 3339 in UTC.
    pub time: String,
    /// What happened.
    pub event: Event,
}

impl CloudEvent {
    /// Wraps an event with an id and a time of the caller's.
    #[must_use]
    pub fn new(id: String, source: &HostId, time: OffsetDateTime, event: Event) -> Self {
        Self {
            id,
            source: source.as_str().to_owned(),
            time: timestamp(time),
            event,
        }
    }

    /// Wraps an event with a fresh id and the present time.
    #[must_use]
    pub fn now(source: &HostId, event: Event) -> Self {
        Self::new(
            event_id(ulid::Ulid::new()),
            source,
            OffsetDateTime::now_utc(),
            event,
        )
    }

    /// The time, if it is one.
    #[must_use]
    pub fn timestamp(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::parse(&self.time, &Rfc3339).ok()
    }
}

/// The UUID form of a ULID, which keeps event ids in the order of time.
#[must_use]
pub fn event_id(ulid: ulid::Ulid) -> String {
    let hex = format!("{:032x}", ulid.0);
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

/// A time as events write it: UTC with nine digits of the second.
#[must_use]
pub fn timestamp(time: OffsetDateTime) -> String {
    let utc = time.to_offset(time::UtcOffset::UTC);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z",
        utc.year(),
        u8::from(utc.month()),
        utc.day(),
        utc.hour(),
        utc.minute(),
        utc.second(),
        utc.nanosecond()
    )
}

/// The envelope in the order of its attributes on the wire.
#[derive(Serialize)]
struct EnvelopeOut<'a> {
    specversion: &'static str,
    id: &'a str,
    #[serde(rename = "type")]
    kind: String,
    source: &'a str,
    datacontenttype: &'static str,
    time: &'a str,
    data: Sorted<'a>,
}

#[derive(Deserialize)]
struct EnvelopeIn {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    source: String,
    #[serde(default)]
    time: String,
    #[serde(default)]
    data: Value,
}

impl Serialize for CloudEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let data = self.event.data().map_err(serde::ser::Error::custom)?;
        EnvelopeOut {
            specversion: "1.0",
            id: &self.id,
            kind: format!("{EVENT_TYPE_PREFIX}{}", self.event.name()),
            source: &self.source,
            datacontenttype: "application/json",
            time: &self.time,
            data: Sorted(&data),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CloudEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let envelope = EnvelopeIn::deserialize(deserializer)?;
        let name = envelope
            .kind
            .strip_prefix(EVENT_TYPE_PREFIX)
            .ok_or_else(|| {
                serde::de::Error::custom(format!(
                    "event type `{}` does not start with `{EVENT_TYPE_PREFIX}`",
                    envelope.kind
                ))
            })?;
        let event = Event::from_parts(name, envelope.data);
        Ok(Self {
            id: envelope.id,
            source: envelope.source,
            time: envelope.time,
            event,
        })
    }
}

#[cfg(test)]
mod tests;
