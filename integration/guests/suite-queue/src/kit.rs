//! What cases have in common.

use std::time::{Duration, Instant};

use crate::bindings::exports::lattice::conformance::suite::{Failure, Setting};
use crate::bindings::lattice::queue::types::{Delivery, Error, Message, Outcome};
use crate::bindings::lattice::queue::{consumer, producer};

/// How long a case waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long one receive waits; less than the deadline of a call.
const WAIT_MS: u32 = 1000;

/// A lease that no case outlives.
pub(crate) const LONG_MS: u32 = 60_000;

/// The queue of a case and what is known of the backend.
pub(crate) struct Kit {
    pub(crate) queue: String,
    settings: Vec<Setting>,
}

/// Fails a case with the line where it fails.
#[macro_export]
macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err($crate::kit::failed(line!(), file!(), &format!($($what)+)));
        }
    };
}

/// Compares what came with what was wanted.
#[macro_export]
macro_rules! same {
    ($got:expr, $wanted:expr) => {
        // A match, so that what the two are made of lives as long.
        match (&$got, &$wanted) {
            (got, wanted) => {
                if got != wanted {
                    let what = format!("wanted {wanted:?}, got {got:?}");
                    return Err($crate::kit::failed(line!(), file!(), &what));
                }
            }
        }
    };
}

/// What did not hold, and where.
pub(crate) fn failed(line: u32, file: &str, what: &str) -> Failure {
    let shown: String = what.chars().take(600).collect();
    Failure::Failed(format!("{file}:{line}: {shown}"))
}

/// A call that has to succeed.
pub(crate) trait Good<T> {
    fn good(self, what: &str) -> Result<T, Failure>;
}

impl<T> Good<T> for Result<T, Error> {
    fn good(self, what: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::Failed(format!("could not {what}: {error:?}")))
    }
}

impl Kit {
    /// Names are such that every backend takes them.
    pub(crate) fn new(at: usize, settings: Vec<Setting>) -> Self {
        let run = settings.iter().find(|setting| setting.name == "run");
        let run = run.map_or("", |setting| setting.value.as_str());
        let plain = |c: char| c.is_ascii_alphanumeric().then(|| c.to_ascii_lowercase());
        let run: String = run.chars().filter_map(plain).take(24).collect();
        Self {
            queue: format!("suite-{run}-{at}"),
            settings,
        }
    }

    /// What the driver says.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        let found = self.settings.iter().find(|setting| setting.name == name);
        found.map(|setting| setting.value.as_str())
    }

    /// The value of a feature of the backend.
    pub(crate) fn feature(&self, name: &str) -> Option<&str> {
        let mut settings = self.settings.iter();
        let found = settings.find(|setting| setting.name.strip_prefix("feature:") == Some(name));
        found.map(|setting| setting.value.as_str())
    }

    /// Ends a case about a feature that the backend lacks, after it has refused it by name.
    pub(crate) fn refused<T>(&self, name: &str, done: Result<T, Error>) -> Result<(), Failure> {
        match done {
            Err(Error::Unsupported(why)) if why.contains(name) => Err(Failure::Refused(why)),
            Err(error) => Err(Failure::Failed(format!(
                "`{name}` is lacking and was not refused by name: {error:?}"
            ))),
            Ok(_) => Err(Failure::Failed(format!(
                "`{name}` is not told as a feature, and it was not refused"
            ))),
        }
    }

    pub(crate) fn send(&self, message: &Message) -> Result<String, Failure> {
        producer::send(&self.queue, message, None).good("send")
    }

    pub(crate) fn receive(&self, max: u32, lease: u32) -> Result<Vec<Delivery>, Failure> {
        consumer::receive(&self.queue, max, WAIT_MS, Some(lease)).good("receive")
    }

    /// The next message.
    pub(crate) fn one(&self, lease: u32) -> Result<Delivery, Failure> {
        self.one_of(&self.queue, lease)
    }

    /// The next message of another queue.
    pub(crate) fn one_of(&self, queue: &str, lease: u32) -> Result<Delivery, Failure> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let got = consumer::receive(queue, 1, WAIT_MS, Some(lease)).good("receive")?;
            if let Some(delivery) = got.into_iter().next() {
                return Ok(delivery);
            }
        }
        Err(Failure::Failed(format!("no message came from `{queue}`")))
    }

    /// Messages until there are as many, acknowledged as they come.
    pub(crate) fn all(&self, count: usize) -> Result<Vec<Delivery>, Failure> {
        let until = Instant::now() + PATIENCE;
        let mut all = Vec::new();
        while all.len() < count && Instant::now() < until {
            for delivery in self.receive(10, LONG_MS)? {
                self.settle(&delivery, &Outcome::Ack)?;
                all.push(delivery);
            }
        }
        Ok(all)
    }

    pub(crate) fn settle(&self, delivery: &Delivery, how: &Outcome) -> Result<(), Failure> {
        self.try_settle(delivery, how).good("settle")
    }

    pub(crate) fn try_settle(&self, delivery: &Delivery, how: &Outcome) -> Result<(), Error> {
        consumer::settle(&self.queue, &delivery.receipt, how)
    }
}

/// A message with a body and nothing else.
pub(crate) fn text(body: &str) -> Message {
    Message {
        body: body.as_bytes().to_vec(),
        content_type: None,
        attributes: Vec::new(),
        dedup_id: None,
        group: None,
    }
}

/// The value of an attribute of a message.
pub(crate) fn attribute<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    let found = message.attributes.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

/// The bodies of deliveries, sorted.
pub(crate) fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    let bodies = deliveries.iter().map(body);
    let mut bodies: Vec<_> = bodies.collect();
    bodies.sort_unstable();
    bodies
}

pub(crate) fn body(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&delivery.message.body).into_owned()
}
