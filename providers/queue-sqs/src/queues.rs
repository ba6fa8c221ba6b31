//! Queues by name.

use std::collections::HashMap;
use std::sync::Arc;

use lattice_provider_sdk::queue::{QueueError, dead_name};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::client::{Again, Sqs};
use crate::error::SqsError;
use crate::settings::{Create, LinkSettings};

const FIFO: &str = ".fifo";
const LONGEST: usize = 80;
/// How many addresses are remembered.
const MOST_KNOWN: usize = 1024;

/// The queues of one link.
#[derive(Debug)]
pub(crate) struct QueueTable {
    sqs: Arc<Sqs>,
    link: LinkSettings,
    /// The addresses of queues by their names at SQS.
    known: Mutex<HashMap<String, Arc<str>>>,
}

/// A queue at SQS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) fifo: bool,
}

impl QueueTable {
    pub(crate) fn new(sqs: Arc<Sqs>, link: LinkSettings) -> Self {
        Self {
            sqs,
            link,
            known: Mutex::default(),
        }
    }

    /// Where dead letters of a queue go. That queue is no FIFO one: its messages have no groups.
    pub(crate) fn dead(&self, queue: &str) -> String {
        let own = || dead_name(queue.strip_suffix(FIFO).unwrap_or(queue));
        self.link.dead_letter.clone().unwrap_or_else(own)
    }

    /// What a queue is called at SQS.
    pub(crate) fn name(&self, queue: &str) -> Result<Name, QueueError> {
        let is_dead = self.is_dead(queue);
        let plain = queue.strip_suffix(FIFO).unwrap_or(queue);
        let fifo = (self.link.fifo || plain != queue) && !is_dead;
        let suffix = if fifo { FIFO } else { "" };
        let text = format!("{plain}{suffix}");
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if plain.is_empty() || text.len() > LONGEST || !plain.bytes().all(allowed) {
            return Err(QueueError::invalid(format!(
                "`{}` cannot be the name of a queue: SQS wants at most {LONGEST} letters, digits, `-` and `_`",
                queue.escape_debug()
            )));
        }
        Ok(Name { text, fifo })
    }

    fn is_dead(&self, queue: &str) -> bool {
        match &self.link.dead_letter {
            Some(dead) => dead == queue,
            None => queue.ends_with("-dead"),
        }
    }

    fn may_create(&self, queue: &str) -> bool {
        let own = &self.link.own;
        match self.link.create {
            Create::All => true,
            Create::No => false,
            Create::Own => queue == own || queue == self.dead(own),
        }
    }

    /// Where a queue is; it is created if the link lets us.
    pub(crate) async fn url(&self, queue: &str) -> Result<Arc<str>, QueueError> {
        let name = self.name(queue)?;
        if let Some(url) = self.known.lock().get(&name.text) {
            return Ok(Arc::clone(url));
        }
        let url = match self.look(&name).await {
            Err(error) if error.is_missing() && self.may_create(queue) => self.create(&name).await,
            found => found,
        }?;
        let mut known = self.known.lock();
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(name.text, Arc::clone(&url));
        Ok(url)
    }

    /// Looks for the link's own queue.
    pub(crate) async fn look_for_own(&self) -> Result<(), SqsError> {
        // The name was looked at when the link was put.
        match self.name(&self.link.own) {
            Ok(name) => self.look(&name).await.map(drop),
            Err(_) => Ok(()),
        }
    }

    async fn look(&self, name: &Name) -> Result<Arc<str>, SqsError> {
        let action = "GetQueueUrl";
        let params = json!({"QueueName": name.text});
        let answer = self.sqs.ask(action, &params, Again::Safe).await?;
        Ok(url(&answer))
    }

    async fn create(&self, name: &Name) -> Result<Arc<str>, SqsError> {
        let mut attributes = serde_json::Map::new();
        if name.fifo {
            attributes.insert("FifoQueue".to_owned(), "true".into());
        }
        if let Some(retention) = self.link.retention {
            let retention = retention.to_string().into();
            attributes.insert("MessageRetentionPeriod".to_owned(), retention);
        }
        let params = json!({"QueueName": name.text, "Attributes": attributes});
        let answer = self.sqs.ask("CreateQueue", &params, Again::Safe).await?;
        Ok(url(&answer))
    }

    /// Looks for a queue anew the next time, when it is gone.
    pub(crate) fn checked<T>(
        &self,
        queue: &str,
        done: Result<T, SqsError>,
    ) -> Result<T, QueueError> {
        if let Err(error) = &done
            && error.is_missing()
            && let Ok(name) = self.name(queue)
        {
            self.known.lock().remove(&name.text);
        }
        Ok(done?)
    }
}

fn url(answer: &Value) -> Arc<str> {
    answer["QueueUrl"].as_str().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use lattice_provider_sdk::Settings;

    use super::*;
    use crate::settings::SqsSettings;

    fn table(values: &[(&str, &str)]) -> QueueTable {
        let settings = Settings::from_texts(values.iter().copied(), []);
        let service = SqsSettings::read(&settings, |_| None).unwrap();
        let link = LinkSettings::read(&settings, &service).unwrap();
        QueueTable::new(Arc::new(Sqs::new(service).unwrap()), link)
    }

    fn name(table: &QueueTable, queue: &str) -> (String, bool) {
        let name = table.name(queue).unwrap();
        (name.text, name.fifo)
    }

    #[test]
    fn names_are_those_of_sqs() {
        let plain = table(&[]);
        assert_eq!(name(&plain, "jobs"), ("jobs".to_owned(), false));
        assert_eq!(name(&plain, "jobs.fifo"), ("jobs.fifo".to_owned(), true));
        assert_eq!(plain.dead("jobs.fifo"), "jobs-dead");
        let fifo = table(&[("fifo", "true")]);
        assert_eq!(name(&fifo, "jobs"), ("jobs.fifo".to_owned(), true));
        assert_eq!(name(&fifo, "jobs-dead"), ("jobs-dead".to_owned(), false));
        for bad in ["a.b", ".fifo", &"a".repeat(81), "a b"] {
            assert!(matches!(plain.name(bad), Err(QueueError::Invalid(_))));
        }
        assert!(fifo.name(&"a".repeat(76)).is_err());
    }

    #[test]
    fn only_what_the_link_says_is_created() {
        let own = table(&[("queue", "jobs")]);
        assert!(own.may_create("jobs") && own.may_create("jobs-dead"));
        assert!(!own.may_create("other"));
        assert!(table(&[("create", "true")]).may_create("other"));
        assert!(!table(&[("create", "false")]).may_create("default"));
    }
}
