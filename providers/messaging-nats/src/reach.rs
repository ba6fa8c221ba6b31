//! Which subjects a link leaves to its component.
//!
//! The NATS of the lattice takes from a provider what it takes from its host: commands, calls in
//! anybody's name, changes of the store. A component is told of no such subjects and says nothing there.

use lattice_core::subject::store::is_stream_of;
use lattice_provider_sdk::messaging::{DeadLetterTo, MessagingError};
use lattice_provider_sdk::{InvalidSetting, Session, Settings};

use crate::settings::{ClusterSettings, SourceSettings};

/// Which subjects a link leaves to its component.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    /// Whose subjects are reserved; nobody's where the link has a NATS or a user of its own.
    lattice: Option<Session>,
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
        let is_kept = !is_allowed && cluster.nats.is_of_lattice(&session.nats_settings());
        Ok(Self {
            lattice: is_kept.then(|| session.clone()),
        })
    }

    fn is_reserved(&self, subject: &str) -> bool {
        let session = self.lattice.as_ref();
        session.is_some_and(|session| session.is_reserved(subject))
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
            let lattice = self.lattice.as_ref().map(Session::lattice);
            if lattice.is_some_and(|lattice| is_stream_of(&consumer.stream, lattice.as_str())) {
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
