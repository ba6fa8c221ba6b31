//! What is stored of a job.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lattice_provider_sdk::schedule::{Job, ScheduleError, Trigger};
use serde::{Deserialize, Serialize};

use crate::key::Owner;
use crate::trigger::Plan;

/// The value of a key. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) component: String,
    pub(crate) link: String,
    pub(crate) job: String,
    trigger: StoredTrigger,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
    /// As base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    payload: String,
    /// When the job was put.
    from: u64,
    /// The next tick that nobody has taken; none when there is none to come.
    pub(crate) next: Option<u64>,
    /// The tick that is being told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) running: Option<Running>,
    /// What was tried with the tick that is being told, or else with the next one.
    #[serde(default, skip_serializing_if = "Tried::is_nothing")]
    pub(crate) tried: Tried,
    /// How many ticks were lost since the last one that was told.
    #[serde(default)]
    pub(crate) lost: u32,
    /// Whether the record stays when the job is done, so that it is not taken for a new one.
    #[serde(default)]
    pub(crate) stays: bool,
    /// The provider whose link says the job; empty where a component has put it, or a version that did not
    /// tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) of: String,
}

/// A tick that somebody has taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    /// Which tick.
    pub(crate) due: u64,
    /// Who has taken it: different for every time that something is taken.
    pub(crate) by: String,
    /// Whether the job was put for another time since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) replaced: bool,
}

/// What was tried with a tick that is not told to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tried {
    /// How often the component has heard of it.
    #[serde(default)]
    pub(crate) attempts: u32,
    /// How many calls in a row nobody took, those for earlier ticks included.
    #[serde(default)]
    pub(crate) unheard: u32,
    /// When it is to be told again, unless another is due before.
    #[serde(default)]
    pub(crate) again: u64,
}

impl Tried {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredTrigger {
    Cron(String),
    EveryMs(u64),
    AtMs(u64),
}

impl Record {
    /// That of a job that is put now; `of` a provider, if it is one that its link says.
    pub(crate) fn new(
        owner: &Owner,
        job: Job,
        now: u64,
        of: Option<&str>,
    ) -> Result<Self, ScheduleError> {
        let plan = Plan::read(&job.trigger, job.time_zone.as_deref(), now)?;
        Ok(Self {
            component: owner.component.clone(),
            link: owner.link.clone(),
            job: job.name,
            trigger: match job.trigger {
                Trigger::Cron(text) => StoredTrigger::Cron(text),
                Trigger::EveryMs(ms) => StoredTrigger::EveryMs(ms),
                Trigger::AtMs(ms) => StoredTrigger::AtMs(ms),
            },
            time_zone: job.time_zone,
            payload: STANDARD.encode(&job.payload),
            from: now,
            next: plan.first(now),
            running: None,
            tried: Tried::default(),
            lost: 0,
            stays: of.is_some(),
            of: of.unwrap_or_default().to_owned(),
        })
    }

    /// What becomes of a record when another is put in its place: `None` when it stays as it is.
    pub(crate) fn replaced_by(&self, new: Self) -> Option<Self> {
        let same_time = self.trigger == new.trigger && self.time_zone == new.time_zone;
        // A time that was over is put for another time.
        let is_over = self.next.is_none() && !self.stays;
        if !same_time || is_over {
            // The next tick comes after the one that is being told.
            let running = self.running.clone().map(|running| Running {
                replaced: true,
                ..running
            });
            return Some(Self { running, ..new });
        }
        if self.payload == new.payload && self.stays == new.stays && self.of == new.of {
            return None;
        }
        Some(Self {
            payload: new.payload,
            stays: new.stays,
            of: new.of,
            ..self.clone()
        })
    }

    pub(crate) fn read(value: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(value)
    }

    pub(crate) fn write(&self) -> Bytes {
        // Texts and numbers: nothing that could not be written.
        serde_json::to_vec(self)
            .map(Bytes::from)
            .unwrap_or_default()
    }

    pub(crate) fn plan(&self) -> Result<Plan, ScheduleError> {
        Plan::read(&self.trigger(), self.time_zone.as_deref(), self.from)
    }

    /// The time between two ticks, if that is what the job says.
    pub(crate) fn period(&self) -> Option<u64> {
        match self.trigger {
            StoredTrigger::EveryMs(period) => Some(period),
            StoredTrigger::Cron(_) | StoredTrigger::AtMs(_) => None,
        }
    }

    /// Whether the tick that is being told is of a time for which the job is not put any more.
    pub(crate) fn tells_of_before(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.replaced)
    }

    pub(crate) fn owner(&self) -> Owner {
        Owner {
            component: self.component.clone(),
            link: self.link.clone(),
        }
    }

    pub(crate) fn payload(&self) -> Bytes {
        // Only what was encoded here is stored.
        STANDARD
            .decode(&self.payload)
            .map(Bytes::from)
            .unwrap_or_default()
    }

    fn trigger(&self) -> Trigger {
        match &self.trigger {
            StoredTrigger::Cron(text) => Trigger::Cron(text.clone()),
            StoredTrigger::EveryMs(ms) => Trigger::EveryMs(*ms),
            StoredTrigger::AtMs(ms) => Trigger::AtMs(*ms),
        }
    }

    /// The job, as it was put.
    pub(crate) fn into_job(self) -> Job {
        Job {
            trigger: self.trigger(),
            payload: self.payload(),
            name: self.job,
            time_zone: self.time_zone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(trigger: Trigger, payload: &'static str) -> Job {
        Job {
            name: "nightly".to_owned(),
            trigger,
            time_zone: None,
            payload: Bytes::from(payload),
        }
    }

    fn record(trigger: Trigger, payload: &'static str, now: u64) -> Record {
        let owner = Owner {
            component: "cart".to_owned(),
            link: "default".to_owned(),
        };
        Record::new(&owner, job(trigger, payload), now, None).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        for trigger in [
            Trigger::Cron("0 8 * * *".to_owned()),
            Trigger::EveryMs(500),
            Trigger::AtMs(77),
        ] {
            let record = record(trigger.clone(), "\u{0}x", 5);
            let read = Record::read(&record.write()).unwrap();
            assert_eq!(read, record);
            assert_eq!(read.into_job(), job(trigger, "\u{0}x"));
        }
    }

    #[test]
    fn a_job_that_is_put_again_keeps_its_time() {
        let old = record(Trigger::EveryMs(1000), "x", 0);
        assert_eq!(
            old.replaced_by(record(Trigger::EveryMs(1000), "x", 700)),
            None
        );
        let other = old
            .replaced_by(record(Trigger::EveryMs(1000), "y", 700))
            .unwrap();
        assert_eq!((other.next, &other.payload()[..]), (Some(1000), &b"y"[..]));
        let other = old
            .replaced_by(record(Trigger::EveryMs(2000), "x", 700))
            .unwrap();
        assert_eq!(other.next, Some(2700));
    }

    #[test]
    fn a_tick_that_is_being_told_stays_in_hand_when_its_job_is_put_anew() {
        let told = |trigger, next| Record {
            running: Some(Running {
                due: 5,
                by: "a".to_owned(),
                replaced: false,
            }),
            next,
            ..record(trigger, "x", 0)
        };
        let every = told(Trigger::EveryMs(1000), Some(2000));
        let other = every
            .replaced_by(record(Trigger::EveryMs(1000), "y", 700))
            .unwrap();
        assert_eq!(other.running, every.running);
        assert!(!other.tells_of_before());
        let once = told(Trigger::AtMs(5), None);
        for (old, new, next) in [
            (&every, Trigger::EveryMs(2000), 2700),
            (&once, Trigger::AtMs(5), 5),
        ] {
            let other = old.replaced_by(record(new, "x", 700)).unwrap();
            assert_eq!(other.next, Some(next));
            assert_eq!(other.running.as_ref().unwrap().by, "a");
            assert!(other.tells_of_before());
            assert_eq!(Record::read(&other.write()).unwrap(), other);
        }
    }

    #[test]
    fn a_record_of_an_earlier_version_is_read() {
        let written = r#"{"component":"cart","link":"default","job":"nightly",
            "trigger":{"every_ms":1000},"from":0,"next":2000,"running":{"due":1000,"by":"a"}}"#;
        let read = Record::read(written.as_bytes()).unwrap();
        assert!(read.running.is_some() && !read.tells_of_before());
    }
}
