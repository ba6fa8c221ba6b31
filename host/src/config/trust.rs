//! Whose components and providers a host runs, and whom it asks.

use std::time::Duration;

use lattice_claims::issuers::TrustedIssuers;
use lattice_core::subject::TopicPrefix;

/// Whose components and providers a host runs. By default those of everybody, as 1.9 does; a
/// token that is there has to hold in any case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustConfig {
    /// Whether what is not signed is refused.
    pub require_signed: bool,
    /// Whether what is not signed runs beside what trusted issuers have signed; `None` for the
    /// default, which is to refuse it as soon as somebody is named.
    pub allow_unsigned: Option<bool>,
    /// Whose signatures count; everybody's when nobody is named.
    pub issuers: TrustedIssuers,
}

impl TrustConfig {
    /// Whether what is not signed runs.
    pub fn allows_unsigned(&self) -> bool {
        let by_default = !self.require_signed && self.issuers.is_empty();
        self.allow_unsigned.unwrap_or(by_default)
    }
}

/// A policy service that is asked before something runs or is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyConfig {
    /// The subject at which it is asked.
    pub topic: TopicPrefix,
    /// The subject at which it tells of changed decisions.
    pub changes_topic: Option<TopicPrefix>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// For how long a decision holds until it is asked for again.
    pub keep: Duration,
}

impl PolicyConfig {
    /// Asks at `topic`, with the defaults for the rest.
    pub fn new(topic: TopicPrefix) -> Self {
        Self {
            topic,
            changes_topic: None,
            timeout: Duration::from_secs(1),
            keep: Duration::from_secs(60),
        }
    }
}
