//! Which subjects a link leaves to its component.
//!
//! The NATS of the lattice takes from a provider what it takes from its host: commands, calls in
//! anybody's name, changes of the store. A component is told of no such subjects and says nothing there.

use std::sync::Arc;

use lattice_core::subject::store::is_stream_of;
use lattice_provider_sdk::messaging::{DeadLetterTo, MessagingError};
use lattice_provider_sdk::{InvalidSetting, Session, Settings, Shared};

use crate::cluster::Cluster;
use crate::settings::{ClusterSettings, SourceSettings};

/// Which subjects a link leaves to its component.
#[derive(Clone)]
pub(crate) struct Reach {
    /// Whose subjects are reserved; nobody's where the link has a user of its own, or an operator has
    /// left them to the component.
    lattice: Option<Session>,
    /// Whether its address is that of the lattice.
    is_known: bool,
    /// Its connection, whose server may be the lattice's by another address.
    cluster: Option<Arc<Shared<Cluster>>>,
}

impl Reach {
    /// Reads what a link says. Its component may have all subjects of a NATS or a user of its own, and
    /// those of the lattice where an operator has said so.
    pub(crate) fn read(
        settings: &Settings,
        cluster: &ClusterSettings,
        session: &Session,
    ) -> Result<Self, InvalidSetting> {
        let choices = [("reserved", false), ("allowed", true)];
        let is_allowed = settings.choice("lattice_subjects", false, &choices)?;
        let own = session.nats_settings();
        let is_kept = !is_allowed && cluster.nats.has_login_of(&own);
        Ok(Self {
            lattice: is_kept.then(|| session.clone()),
            is_known: cluster.nats.is_of_lattice(&own),
            cluster: None,
        })
    }

    /// As it is when there is a connection.
    pub(crate) fn over(mut self, cluster: &Arc<Shared<Cluster>>) -> Self {
        self.cluster = Some(Arc::clone(cluster));
        self
    }

    /// The lattice whose NATS it is; looked at whenever it matters, as a connection may be made again
    /// to another server.
    fn lattice(&self) -> Option<&Session> {
        let session = self.lattice.as_ref()?;
        let own = session.peer().nats();
        let cluster = self.cluster.as_ref();
        let is_theirs = self.is_known || cluster.is_some_and(|cluster| cluster.is_with(own));
        is_theirs.then_some(session)
    }

    /// Whether all subjects are left to the component.
    pub(crate) fn has_all(&self) -> bool {
        self.lattice().is_none()
    }

    fn is_reserved(&self, subject: &str) -> bool {
        let session = self.lattice.as_ref();
        session.is_some_and(|session| session.is_reserved(subject)) && self.lattice().is_some()
    }

    /// Which of the subjects of a stream is reserved, of those that `filter` lets through.
    pub(crate) fn reserved_of<'a>(
        &self,
        subjects: &'a [String],
        filter: &[String],
    ) -> Option<&'a String> {
        let lets = filter.is_empty() || filter.iter().any(|wanted| self.is_reserved(wanted));
        let mut subjects = subjects.iter();
        subjects.find(|subject| lets && self.is_reserved(subject))
    }

    /// Whether a stream is one in which the lattice keeps what it knows.
    pub(crate) fn is_stream_of_lattice(&self, stream: &str) -> bool {
        let lattice = self.lattice().map(Session::lattice);
        lattice.is_some_and(|lattice| is_stream_of(stream, lattice.as_str()))
    }

    /// Refuses a subject of a component that is not for it.
    pub(crate) fn check(&self, subject: &str) -> Result<(), MessagingError> {
        match self.is_reserved(subject) {
            true => Err(MessagingError::Reserved {
                subject: subject.to_owned(),
            }),
            false => Ok(()),
        }
    }

    /// Refuses what a link would have its component told of.
    pub(crate) fn check_source(
        &self,
        source: &SourceSettings,
        letters: &DeadLetterTo,
    ) -> Result<(), InvalidSetting> {
        let subjects = source.subscriptions.iter().map(|told| &told.subject);
        self.refuse("subscriptions", subjects)?;
        for consumer in &source.consumers {
            let made = consumer.create.iter();
            self.refuse("stream_subjects", made.flat_map(|new| &new.stream_subjects))?;
            if self.is_stream_of_lattice(&consumer.stream) {
                return Err(reserved("stream", &consumer.stream));
            }
        }
        match letters {
            DeadLetterTo::Named(subject) => self.refuse("dead_letter", [subject]),
            DeadLetterTo::Usual | DeadLetterTo::Nowhere => Ok(()),
        }
    }

    fn refuse<'a>(
        &self,
        key: &str,
        subjects: impl IntoIterator<Item = &'a String>,
    ) -> Result<(), InvalidSetting> {
        let mut subjects = subjects.into_iter();
        match subjects.find(|subject| self.is_reserved(subject)) {
            Some(subject) => Err(reserved(key, subject)),
            None => Ok(()),
        }
    }
}

fn reserved(key: &str, value: &str) -> InvalidSetting {
    InvalidSetting::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        expected:
            "nothing that the lattice itself goes by on its NATS, such as its commands, calls \
                   and inboxes; `lattice_subjects=allowed` in the link leaves that to the component"
                .into(),
    }
}
