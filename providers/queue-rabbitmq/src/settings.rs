//! What a link may say, besides what [`lattice_provider_sdk::queue`] lists, in the config of the
//! provider's end or, preferred for what is secret, in its secrets. What the provider's own config
//! says holds for links that do not say it.
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `url` | `amqp://user:password@host:5672/vhost`, or `amqps://` for TLS | `amqp://guest:guest@127.0.0.1:5672/%2f` |
//! | `username`, `password` | who connects | those in `url` |
//! | `tls_ca` | certificates to trust besides those of the system, as PEM text | none |
//! | `tls_ca_file` | as `tls_ca`, the path of a file | |
//! | `create` | `true`: every queue that is missing is created; `false`: none is | the link's own and dead-letter queues are |
//! | `dead_letter` | the queue that dead letters go to | the name of their queue with `-dead` |
//! | `queue_type` | how a queue is created: `quorum` or `classic`; those where messages wait for later are always `quorum` | `quorum` |
//! | `max_messages` | the most messages in a queue that is created; more are refused | no limit |
//! | `max_bytes` | the most bytes; more are refused | no limit |
//! | `max_message_bytes` | the largest body | 16777216 |

use lattice_provider_sdk::queue::dead_name;
use lattice_provider_sdk::{LinkError, Settings};
use lattice_rabbitmq::RabbitSettings;

/// The largest body that a server takes by default.
const LARGEST: usize = 128 << 20;

/// Which queues are created when they are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// Any.
    All,
    /// That of the link and its dead-letter queue.
    Own,
    /// None.
    No,
}

/// How a queue is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSettings {
    /// Whether it is a quorum queue.
    pub quorum: bool,
    /// The most messages; zero for any number.
    pub max_messages: i64,
    /// The most bytes; zero for any number.
    pub max_bytes: i64,
}

impl QueueSettings {
    /// The same without limits.
    #[must_use]
    pub fn unlimited(self) -> Self {
        Self {
            max_messages: 0,
            max_bytes: 0,
            ..self
        }
    }
}

/// What a link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSettings {
    /// The server behind it.
    pub server: RabbitSettings,
    /// The link's own queue.
    pub own: String,
    /// Where dead letters go, if that was said.
    pub dead_letter: Option<String>,
    /// Which queues are created.
    pub create: Create,
    /// How.
    pub queue: QueueSettings,
    /// The largest body.
    pub largest: usize,
}

impl LinkSettings {
    /// Reads what a link says.
    ///
    /// # Errors
    ///
    /// [`LinkError::Invalid`] names the value.
    pub fn read(settings: &Settings) -> Result<Self, LinkError> {
        let create = match settings.text("create") {
            None => Create::Own,
            Some(_) if settings.switch("create", true)? => Create::All,
            Some(_) => Create::No,
        };
        let limit = |key| match settings.text(key) {
            None => Ok(0),
            Some(_) => settings.number(key, 0, 1..=i64::MAX),
        };
        let kinds = [("quorum", true), ("classic", false)];
        Ok(Self {
            server: RabbitSettings::read(settings)?,
            own: settings
                .text("queue")
                .unwrap_or("default")
                .trim()
                .to_owned(),
            dead_letter: settings.text("dead_letter").map(str::to_owned),
            create,
            queue: QueueSettings {
                quorum: settings.choice("queue_type", true, &kinds)?,
                max_messages: limit("max_messages")?,
                max_bytes: limit("max_bytes")?,
            },
            largest: settings.number("max_message_bytes", 16 << 20, 1..=LARGEST)?,
        })
    }

    /// Where the dead letters of a queue go.
    #[must_use]
    pub fn dead(&self, queue: &str) -> String {
        let named = self.dead_letter.clone();
        named.unwrap_or_else(|| dead_name(queue))
    }

    /// How a queue is created that is missing when a component asks for it, if it is at all.
    #[must_use]
    pub fn creates(&self, queue: &str) -> Option<QueueSettings> {
        let is_dead_letter_queue = queue == self.dead(&self.own);
        match self.create {
            Create::All => Some(self.queue),
            Create::Own if queue == self.own => Some(self.queue),
            Create::Own if is_dead_letter_queue => Some(self.queue.unlimited()),
            Create::Own | Create::No => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<LinkSettings, LinkError> {
        LinkSettings::read(&Settings::from_texts(values.iter().copied(), []))
    }

    #[test]
    fn queues_are_created_as_the_link_says() {
        let settings = read(&[("queue", "jobs"), ("max_messages", "5")]).unwrap();
        assert_eq!(
            settings.creates("jobs").map(|how| how.max_messages),
            Some(5)
        );
        assert_eq!(
            settings.creates("jobs-dead").map(|how| how.max_messages),
            Some(0)
        );
        assert_eq!(settings.creates("other"), None);
        assert!(
            read(&[("create", "yes")])
                .unwrap()
                .creates("other")
                .is_some()
        );
        assert!(
            read(&[("create", "no")])
                .unwrap()
                .creates("default")
                .is_none()
        );
    }

    #[test]
    fn what_cannot_be_used_is_named_without_passwords() {
        for (key, text) in [
            ("url", "http://me:secret@h"),
            ("create", "perhaps"),
            ("queue_type", "odd"),
            ("max_messages", "0"),
            ("max_message_bytes", "999999999999"),
            ("tls_ca_file", "/nowhere"),
        ] {
            let error = read(&[(key, text)]).unwrap_err().to_string();
            assert!(error.contains(key) && !error.contains("secret"), "{error}");
        }
        assert!(read(&[("tls_ca", "pem")]).is_err());
        let shown = format!("{:?}", read(&[("url", "amqp://me:secret@h")]).unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }
}
