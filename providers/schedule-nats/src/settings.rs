//! What links say.
//!
//! | key | where | meaning | default |
//! | --- | --- | --- | --- |
//! | `bucket` | both | the bucket of the jobs, created when it is missing | `schedule_` and the lattice's name |
//! | `replicas` | both | how many servers keep a copy of a bucket that is created | 1 |
//! | `max_jobs` | target | how many jobs the component may have; a few more when copies of the provider take new ones at the same time | 256 |
//! | `max_payload_bytes` | target | how long a payload may be | 65536 |
//! | `deadline_ms` | both | how long the handler may take for a tick | 10000 |
//! | `attempts` | both | how often a tick is told at most, when the handler fails; a call that nobody takes is none | 3 |
//! | `retry_ms` | both | the first pause after a failure, and after a call that nobody took; it doubles up to 30 seconds | 500 |
//! | `on_lost` | both | what becomes of a tick of which nobody knows whether the handler was done: `skip` or `again` | `skip` |
//! | `cron`, `every_ms` or `at_ms` | source | a job that the link says, with this trigger | none |
//! | `job` | source | its name | `link` |
//! | `time_zone` | source | the time zone of `cron` | `UTC` |
//! | `payload` | source | its payload, a text | empty |
//!
//! Source is a link with the provider as source, target one with it as target; and both say where
//! NATS is: see [`BackendSettings`]. How ticks are told is said by the link with the provider as source
//! when a component has both under one name.

use std::time::Duration;

use bytes::Bytes;
use lattice_core::LatticeName;
use lattice_core::subject::store::schedule_bucket;
use lattice_nats::is_bucket_name;
use lattice_provider_sdk::nats::{BackendSettings, NatsSettings};
use lattice_provider_sdk::schedule::{Job, Trigger};
use lattice_provider_sdk::{InvalidSetting, Settings};

/// How many copies NATS makes at most.
const MOST_REPLICAS: usize = 5;

/// Which bucket on which NATS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JobStoreSettings {
    /// The NATS.
    pub nats: BackendSettings,
    /// The bucket.
    pub bucket: String,
    /// How many copies there are of one that is created.
    pub replicas: usize,
}

impl JobStoreSettings {
    /// Reads what a link says; `own` is the connection of the lattice.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(
        settings: &Settings,
        lattice: &LatticeName,
        own: &NatsSettings,
    ) -> Result<Self, InvalidSetting> {
        let name = |text: &str| is_bucket_name(text).then(|| text.to_owned());
        let bucket = settings.read("bucket", "letters, digits, `-` and `_`", name)?;
        Ok(Self {
            nats: BackendSettings::read(settings, own)?,
            bucket: bucket.unwrap_or_else(|| schedule_bucket(lattice)),
            replicas: settings.number("replicas", 1, 1..=MOST_REPLICAS)?,
        })
    }
}

/// What a component may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many jobs.
    pub jobs: usize,
    /// How long a payload.
    pub payload: usize,
}

/// The longest payload that a link may allow.
const LARGEST_PAYLOAD: usize = 524_288;

impl Limits {
    /// Those of a link that says its job itself, as far as every such job keeps them.
    pub const OWN: Self = Self {
        jobs: 1,
        payload: LARGEST_PAYLOAD,
    };

    /// Reads what a link says.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        Ok(Self {
            jobs: settings.number("max_jobs", 256, 1..=10_000)?,
            payload: settings.number("max_payload_bytes", 65_536, 0..=LARGEST_PAYLOAD)?,
        })
    }
}

/// How ticks are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// How long the handler may take.
    pub deadline: Duration,
    /// How often a tick is told at most, when the handler fails.
    pub attempts: u32,
    /// The first pause in between.
    pub pause: Duration,
    /// Whether a tick is told again of which nobody knows what became of it.
    pub again: bool,
}

impl Manner {
    /// Reads what a link says.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        let ten_seconds = Duration::from_secs(10);
        let pause = Duration::from_millis(500);
        Ok(Self {
            deadline: settings.millis("deadline_ms", ten_seconds, 100..=600_000)?,
            attempts: settings.number("attempts", 3, 1..=100)?,
            pause: settings.millis("retry_ms", pause, 1..=30_000)?,
            again: settings.choice("on_lost", false, &[("skip", false), ("again", true)])?,
        })
    }
}

/// The job that a link says by itself, if it does.
///
/// # Errors
///
/// [`InvalidSetting`] names the value.
pub fn own_job(settings: &Settings) -> Result<Option<Job>, InvalidSetting> {
    let millis = |text: &str| text.parse().ok();
    let cron = settings.link_text("cron");
    let every = settings.read("every_ms", "milliseconds", millis)?;
    let at = settings.read("at_ms", "milliseconds since 1970", millis)?;
    let trigger = match (cron, every, at) {
        (None, None, None) => return Ok(None),
        (Some(cron), None, None) => Trigger::Cron(cron.to_owned()),
        (None, Some(every), None) => Trigger::EveryMs(every),
        (None, None, Some(at)) => Trigger::AtMs(at),
        _ => {
            return Err(InvalidSetting::Value {
                key: "cron".to_owned(),
                value: cron.unwrap_or_default().to_owned(),
                expected: "one of `cron`, `every_ms` and `at_ms`".to_owned(),
            });
        }
    };
    let payload = settings.link_text("payload").unwrap_or_default();
    Ok(Some(Job {
        name: settings.link_text("job").unwrap_or("link").to_owned(),
        trigger,
        time_zone: settings.link_text("time_zone").map(str::to_owned),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(values: &[(&str, &str)]) -> Settings {
        Settings::from_texts(values.to_vec(), [])
    }

    #[test]
    fn a_link_may_say_one_job() {
        assert_eq!(own_job(&says(&[])), Ok(None));
        let values = [
            ("cron", "0 8 * * *"),
            ("time_zone", "Asia/Tokyo"),
            ("payload", "x"),
        ];
        let job = own_job(&says(&values)).unwrap().unwrap();
        assert_eq!(job.trigger, Trigger::Cron("0 8 * * *".to_owned()));
        assert_eq!((&*job.name, &job.payload[..]), ("link", &b"x"[..]));
        let both = says(&[("cron", "0 8 * * *"), ("every_ms", "5")]);
        assert!(own_job(&both).unwrap_err().to_string().contains("one of"));
    }

    #[test]
    fn values_of_the_wrong_kind_are_named() {
        for (key, value) in [
            ("max_jobs", "0"),
            ("deadline_ms", "1"),
            ("attempts", "0"),
            ("on_lost", "maybe"),
            ("every_ms", "soon"),
        ] {
            let settings = says(&[(key, value)]);
            let read = Limits::read(&settings)
                .map(drop)
                .and(Manner::read(&settings).map(drop))
                .and(own_job(&settings).map(drop));
            let error = read.unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
    }
}
