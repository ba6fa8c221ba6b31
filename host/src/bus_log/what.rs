//! What it is that somebody is refused: what is of one sort is told together, and a flood of one sort hides
//! nothing of another.
//!
//! Whoever tries chooses the names. What the lattice has is therefore told apart by its name, and what is
//! made up by a few groups; nobody can tell which name is in which.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use lattice_core::event::EventKind;
use lattice_core::subject::secrets::SECRETS_BUCKET;
use lattice_core::subject::store::{
    code_bucket, config_bucket, lattice_bucket, lock_bucket, parse_bucket_stream, schedule_bucket,
    status_bucket,
};
use lattice_core::subject::{ControlOp, ControlSubjects};
use lattice_core::{ComponentId, LatticeName};

use crate::config::HostConfig;

/// How many groups of made-up names of one sort are told apart.
const GROUPS: u64 = 4;

/// What is asked of JetStream, and of what kind that is.
const ASKED: [(&str, Asks); 25] = [
    ("INFO", Asks::ToRead),
    ("STREAM.NAMES", Asks::ToRead),
    ("STREAM.LIST", Asks::ToRead),
    ("STREAM.INFO", Asks::ToRead),
    ("STREAM.MSG.GET", Asks::ToRead),
    ("DIRECT.GET", Asks::ToRead),
    ("CONSUMER.CREATE", Asks::ToFollow),
    ("CONSUMER.DURABLE.CREATE", Asks::ToFollow),
    ("CONSUMER.MSG.NEXT", Asks::ToFollow),
    ("CONSUMER.INFO", Asks::ToFollow),
    ("CONSUMER.NAMES", Asks::ToFollow),
    ("CONSUMER.LIST", Asks::ToFollow),
    ("CONSUMER.PAUSE", Asks::ToFollow),
    ("CONSUMER.DELETE", Asks::ToFollow),
    ("CONSUMER.LEADER.STEPDOWN", Asks::ToFollow),
    ("CONSUMER.UNPIN", Asks::ToFollow),
    ("STREAM.CREATE", Asks::ToChange),
    ("STREAM.UPDATE", Asks::ToChange),
    ("STREAM.DELETE", Asks::ToChange),
    ("STREAM.PURGE", Asks::ToChange),
    ("STREAM.MSG.DELETE", Asks::ToChange),
    ("STREAM.SNAPSHOT", Asks::ToChange),
    ("STREAM.RESTORE", Asks::ToChange),
    ("STREAM.LEADER.STEPDOWN", Asks::ToChange),
    ("STREAM.PEER.REMOVE", Asks::ToChange),
];

/// A sort of subjects.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum What {
    /// A command to hosts.
    Command(Name),
    /// What hosts tell.
    Event(Name),
    /// What a provider process is told, and tells its host.
    Provider(Name),
    /// Calls of an entity.
    Calls(Name),
    /// Answers to the processes of a provider.
    Inbox(Name),
    /// Something else of an entity.
    Beside(Name),
    /// Where the lattice asks a service, and whether it is that place itself.
    Service(usize, bool),
    /// What is in a bucket.
    Records(Name),
    /// A request to JetStream about a stream.
    Stream(Asks, Name),
    /// Answers to others.
    Answers(Name),
    /// Any other.
    Else(Name),
}

/// What somebody asks of JetStream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Asks {
    ToRead,
    ToFollow,
    ToChange,
    Else,
}

/// A name in a subject.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Name {
    /// One that the lattice has.
    Known(Box<str>),
    /// All of them, or many.
    Many,
    /// One of a group of others.
    Other(u64),
}

/// What the lattice has.
pub(crate) struct Known {
    lattice: String,
    commands: ControlSubjects,
    /// What commands to this lattice begin with.
    commands_base: String,
    /// What requests to JetStream begin with.
    requests: Vec<String>,
    services: Vec<String>,
    buckets: Vec<String>,
    is_entity: Box<dyn Fn(&ComponentId) -> bool + Send + Sync>,
    groups: RandomState,
}

impl Known {
    /// What the lattice of a host has, as `is_entity` knows its components and providers.
    pub(crate) fn of(
        config: &HostConfig,
        is_entity: impl Fn(&ComponentId) -> bool + Send + Sync + 'static,
    ) -> Self {
        let lattice = &config.lattice;
        let policy = config.policy.iter();
        let policy = policy.flat_map(|policy| [Some(&policy.topic), policy.changes_topic.as_ref()]);
        let services = policy.chain([config.secrets.topic.as_ref()]).flatten();
        let commands = ControlSubjects::new(&config.ctl_topic_prefix, lattice);
        let ping = commands.subject(&ControlOp::HostPing);
        let (noun, verb) = ControlOp::HostPing.noun_and_verb();
        let domain = config.js_domain.iter();
        let domain = domain.map(|domain| format!("$JS.{domain}.API."));
        Self {
            lattice: lattice.to_string(),
            commands_base: ping.trim_end_matches(&format!("{noun}.{verb}")).to_owned(),
            commands,
            requests: domain.chain(["$JS.API.".to_owned()]).collect(),
            services: services.map(ToString::to_string).collect(),
            buckets: buckets(lattice),
            is_entity: Box::new(is_entity),
            groups: RandomState::new(),
        }
    }

    /// What a subject is about.
    pub(super) fn what(&self, subject: &str) -> What {
        if let Some(command) = subject.strip_prefix(&*self.commands_base) {
            return What::Command(self.command(subject, command));
        }
        if let Some(service) = self.service(subject) {
            return service;
        }
        let mut requests = self.requests.iter();
        if let Some(request) = requests.find_map(|base| subject.strip_prefix(&**base)) {
            return self.request(request);
        }
        let tokens: Vec<&str> = subject.splitn(4, '.').collect();
        match tokens[..] {
            ["wasmbus", "evt", of, name] if of == self.lattice => {
                What::Event(self.name(name, |name| name.parse::<EventKind>().is_ok()))
            }
            ["wasmbus", "rpc", of, rest] if of == self.lattice => {
                What::Provider(self.entity(first(rest)))
            }
            ["$KV" | "$O", bucket, ..] => What::Records(self.bucket(bucket)),
            ["_INBOX", ..] => What::Answers(self.name(subject, |_| false)),
            [of, id, "wrpc", ..] if of == self.lattice => What::Calls(self.entity(id)),
            [of, id, "inbox", ..] if of == self.lattice => What::Inbox(self.entity(id)),
            [of, id, ..] if of == self.lattice => What::Beside(self.entity(id)),
            [one, other, ..] => What::Else(self.name(&format!("{one}.{other}"), |_| false)),
            _ => What::Else(self.name(subject, |_| false)),
        }
    }

    /// Which command it is, whomever it is for.
    fn command(&self, subject: &str, command: &str) -> Name {
        match self.commands.parse(subject) {
            Ok(op) => {
                let (noun, verb) = op.noun_and_verb();
                Name::Known(format!("{noun}.{verb}").into())
            }
            Err(_) => self.name(command, |_| false),
        }
    }

    fn service(&self, subject: &str) -> Option<What> {
        let mut services = self.services.iter().enumerate();
        services.find_map(|(number, place)| {
            let below = subject.strip_prefix(&**place)?;
            let is_itself = below.is_empty();
            let is_of_it = is_itself || below.starts_with('.');
            is_of_it.then_some(What::Service(number, is_itself))
        })
    }

    /// What of JetStream is asked for, and of which stream.
    fn request(&self, request: &str) -> What {
        let mut asked = ASKED.iter();
        let asked = asked.find_map(|(verb, asks)| {
            let rest = request.strip_prefix(*verb)?;
            let stream = match rest {
                // Some ask for all streams, and name none.
                "" => ">",
                _ => rest.strip_prefix('.')?,
            };
            Some((*asks, first(stream)))
        });
        match asked {
            Some((asks, stream)) => What::Stream(asks, self.bucket(bucket_of(stream))),
            None => What::Stream(Asks::Else, self.asked_otherwise(request)),
        }
    }

    /// The bucket that an unknown request names, or which request it is.
    fn asked_otherwise(&self, request: &str) -> Name {
        let mut named = request
            .split('.')
            .map(|token| self.bucket(bucket_of(token)));
        let known = named.find(|name| matches!(name, Name::Known(_)));
        known.unwrap_or_else(|| self.name(request, |_| false))
    }

    fn bucket(&self, bucket: &str) -> Name {
        self.name(bucket, |bucket| {
            self.buckets.iter().any(|own| own == bucket)
        })
    }

    fn entity(&self, id: &str) -> Name {
        let is_known = |id: &str| ComponentId::new(id).is_ok_and(|id| (self.is_entity)(&id));
        self.name(id, is_known)
    }

    fn name(&self, name: &str, is_known: impl FnOnce(&str) -> bool) -> Name {
        if name.split('.').any(|token| token == "*" || token == ">") {
            Name::Many
        } else if is_known(name) {
            Name::Known(name.into())
        } else {
            Name::Other(self.groups.hash_one(name) % GROUPS)
        }
    }
}

/// The buckets of a lattice.
fn buckets(lattice: &LatticeName) -> Vec<String> {
    let own = [
        lattice_bucket,
        config_bucket,
        status_bucket,
        code_bucket,
        lock_bucket,
        schedule_bucket,
    ];
    let own = own.into_iter().map(|bucket| bucket(lattice));
    own.chain([SECRETS_BUCKET.to_owned()]).collect()
}

/// The bucket that a stream keeps, if it keeps one.
fn bucket_of(stream: &str) -> &str {
    let bucket = parse_bucket_stream(stream).or_else(|| stream.strip_prefix("OBJ_"));
    bucket.unwrap_or(stream)
}

/// The first token of a subject.
fn first(subject: &str) -> &str {
    subject.split('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
