//! Subjects of secrets backends.

use std::sync::Arc;

use super::TopicPrefix;
use crate::id::BackendName;

/// What hosts and backends use before the version token unless told otherwise.
pub const DEFAULT_SECRETS_TOPIC: &str = "wasmcloud.secrets";

/// What the queue group of the reference backend is called before its name.
const QUEUE: &str = "wasmcloud_secrets";

/// The version token.
const VERSION: &str = "v1alpha1";

const SERVER_XKEY: &str = "server_xkey";
const GET: &str = "get";
const PUT_SECRET: &str = "put_secret";
const ADD_MAPPING: &str = "add_mapping";
const REMOVE_MAPPING: &str = "remove_mapping";

/// The subjects of one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretsSubjects {
    base: Arc<str>,
}

/// What a subject asks a backend for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretsOp<'a> {
    /// Its public curve key.
    ServerXkey,
    /// A secret.
    Get,
    /// To keep a value.
    PutSecret,
    /// To let an entity have further secrets.
    AddMapping(&'a str),
    /// To let an entity no longer have some.
    RemoveMapping(&'a str),
}

impl SecretsSubjects {
    /// The subjects of `backend` below `topic`.
    #[must_use]
    pub fn new(topic: &TopicPrefix, backend: &BackendName) -> Self {
        Self {
            base: format!("{topic}.{VERSION}.{backend}").into(),
        }
    }

    /// Where the backend is asked for its public curve key.
    #[must_use]
    pub fn server_xkey(&self) -> String {
        format!("{}.{SERVER_XKEY}", self.base)
    }

    /// Where it is asked for a secret.
    #[must_use]
    pub fn get(&self) -> String {
        format!("{}.{GET}", self.base)
    }

    /// Where the reference backend is given a value to keep.
    #[must_use]
    pub fn put_secret(&self) -> String {
        format!("{}.{PUT_SECRET}", self.base)
    }

    /// Where it is told which further secrets an entity may have.
    #[must_use]
    pub fn add_mapping(&self, entity: &str) -> String {
        format!("{}.{ADD_MAPPING}.{entity}", self.base)
    }

    /// Where it is told which secrets an entity may no longer have.
    #[must_use]
    pub fn remove_mapping(&self, entity: &str) -> String {
        format!("{}.{REMOVE_MAPPING}.{entity}", self.base)
    }

    /// Every subject of the backend.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}.>", self.base)
    }

    /// What a subject asks this backend for.
    #[must_use]
    pub fn parse<'a>(&self, subject: &'a str) -> Option<SecretsOp<'a>> {
        let rest = subject.strip_prefix(&*self.base)?.strip_prefix('.')?;
        match rest.split_once('.') {
            None => match rest {
                SERVER_XKEY => Some(SecretsOp::ServerXkey),
                GET => Some(SecretsOp::Get),
                PUT_SECRET => Some(SecretsOp::PutSecret),
                _ => None,
            },
            Some((ADD_MAPPING, entity)) => Some(SecretsOp::AddMapping(entity)),
            Some((REMOVE_MAPPING, entity)) => Some(SecretsOp::RemoveMapping(entity)),
            Some(_) => None,
        }
    }
}

/// The queue group that all processes of one reference backend share.
#[must_use]
pub fn secrets_queue(backend: &BackendName) -> String {
    format!("{QUEUE}.{backend}")
}

/// The bucket with the sealed values of the reference backend.
pub const SECRETS_BUCKET: &str = "WASMCLOUD_SECRETS";

/// The bucket in which it keeps who may have which.
#[must_use]
pub fn secrets_state_bucket(backend: &BackendName) -> String {
    format!("SECRETS_{backend}_state")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects() -> SecretsSubjects {
        let topic = TopicPrefix::new(DEFAULT_SECRETS_TOPIC).unwrap();
        SecretsSubjects::new(&topic, &BackendName::new("nats-kv").unwrap())
    }

    #[test]
    fn subjects_are_those_of_the_page() {
        let subjects = subjects();
        assert_eq!(subjects.get(), "wasmcloud.secrets.v1alpha1.nats-kv.get");
        assert!(subjects.server_xkey().ends_with(".nats-kv.server_xkey"));
        assert!(subjects.put_secret().ends_with(".nats-kv.put_secret"));
        assert!(subjects.add_mapping("MA").ends_with(".add_mapping.MA"));
        assert!(
            subjects
                .remove_mapping("MA")
                .ends_with(".remove_mapping.MA")
        );
        let backend = BackendName::new("nats-kv").unwrap();
        assert_eq!(secrets_queue(&backend), "wasmcloud_secrets.nats-kv");
        assert_eq!(secrets_state_bucket(&backend), "SECRETS_nats-kv_state");
    }

    #[test]
    fn subjects_are_read_back() {
        let subjects = subjects();
        for (subject, op) in [
            (subjects.server_xkey(), Some(SecretsOp::ServerXkey)),
            (subjects.get(), Some(SecretsOp::Get)),
            (subjects.put_secret(), Some(SecretsOp::PutSecret)),
            (subjects.add_mapping("M"), Some(SecretsOp::AddMapping("M"))),
            (
                subjects.remove_mapping("M"),
                Some(SecretsOp::RemoveMapping("M")),
            ),
            (format!("{}x", subjects.get()), None),
            (format!("{}.x", subjects.get()), None),
            ("get".to_owned(), None),
        ] {
            assert_eq!(subjects.parse(&subject), op, "{subject}");
        }
    }

    #[test]
    fn a_backend_is_one_token() {
        for name in ["", "a.b", "*", "a b", ">"] {
            assert!(BackendName::new(name).is_err(), "{name}");
        }
    }
}
