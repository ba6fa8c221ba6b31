//! Subjects of calls between entities.

use std::fmt;
use std::sync::Arc;

use crate::id::{ComponentId, LatticeName};

/// The protocol tokens between the target and the instance.
pub const PROTOCOL: &str = "wrpc.0.0.1";

/// What every call to one entity starts with; also its queue group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RpcPrefix(Arc<str>);

impl RpcPrefix {
    /// The prefix of `target` in `lattice`.
    #[must_use]
    pub fn new(lattice: &LatticeName, target: &ComponentId) -> Self {
        Self(format!("{lattice}.{target}").into())
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The queue group in which the servers of this entity share its calls.
    #[must_use]
    pub fn queue_group(&self) -> &str {
        &self.0
    }

    /// The subject of a call. An empty instance stands for the component's root.
    #[must_use]
    pub fn invocation(&self, instance: &str, function: &str) -> String {
        let function = undecorated(function);
        if instance.is_empty() {
            format!("{}.{PROTOCOL}.{function}", self.0)
        } else {
            format!("{}.{PROTOCOL}.{instance}.{function}", self.0)
        }
    }

    /// Every call of this entity.
    #[must_use]
    pub fn calls(&self) -> String {
        format!("{}.{PROTOCOL}.>", self.0)
    }

    /// Everything that those who serve this entity listen to, calls and what is said about them.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}.wrpc.>", self.0)
    }

    /// What the inboxes of the processes of a provider begin with that have NATS users of their
    /// own. A subject of ours: all others listen below `_INBOX`.
    #[must_use]
    pub fn inbox(&self) -> String {
        format!("{}.inbox", self.0)
    }

    /// What the inbox begins with of the one process that owns a public curve key.
    #[must_use]
    pub fn inbox_of(&self, xkey_public: &str) -> String {
        format!("{}.inbox.{xkey_public}", self.0)
    }

    /// Every call of every entity of a lattice.
    #[must_use]
    pub fn all_calls(lattice: &LatticeName) -> String {
        format!("{lattice}.*.wrpc.>")
    }

    /// Every inbox of a provider process of a lattice.
    #[must_use]
    pub fn all_inboxes(lattice: &LatticeName) -> String {
        format!("{lattice}.*.inbox.>")
    }

    /// Where those who serve this entity ask one another who has room for more calls. A subject of
    /// ours: servers of the 1.9 lattice neither ask nor answer.
    #[must_use]
    pub fn room(&self) -> String {
        format!("{}.wrpc.room", self.0)
    }
}

impl fmt::Display for RpcPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for RpcPrefix {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Removes the decoration of resource functions: `[method]bucket.get` becomes
/// `bucket.get`.
#[must_use]
pub fn undecorated(function: &str) -> &str {
    match function
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((_, name)) => name,
        None => function,
    }
}

/// The interface of an operation or of an instance, without version: `wrpc:keyvalue/store` for
/// `wrpc:keyvalue/store@0.2.0-draft.bucket.get`. Empty for a function that is in none, which no link
/// can name.
#[must_use]
pub fn interface_of(operation: &str) -> &str {
    // Names have no dots, so that one begins what is called, or parts a version.
    let name = operation.split(['@', '.']).next().unwrap_or_default();
    match name.contains(':') {
        true => name,
        false => "",
    }
}

/// The lattice, the target and the operation of a call's subject.
///
/// The operation is `{instance}.{function}` in one text: version numbers and
/// resource functions both hold dots, so only someone who knows the interface
/// can split it.
#[must_use]
pub fn parse_invocation(subject: &str) -> Option<(LatticeName, ComponentId, &str)> {
    let (lattice, rest) = subject.split_once('.')?;
    let (target, rest) = rest.split_once('.')?;
    let operation = rest.strip_prefix(PROTOCOL)?.strip_prefix('.')?;
    if operation.is_empty() {
        return None;
    }
    Some((
        LatticeName::new(lattice).ok()?,
        ComponentId::new(target).ok()?,
        operation,
    ))
}
