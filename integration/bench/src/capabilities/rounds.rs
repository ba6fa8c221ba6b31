//! Operations in interleaved rounds, so that each way meets the same machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::catalog::{IN_FLIGHT, Operation, SUBJECTS, Subject, Way, figure_name};
use super::ground::Ground;
use super::{Batch, Worker, native, sdk};
use crate::load::closed_loop;
use crate::meter::{self, Sample};
use crate::report::{Report, median};

/// How long each way works before the first round.
const WARM_UP: Duration = Duration::from_millis(300);

/// An operation on one way, so many at once.
struct Contestant {
    name: String,
    way: Way,
    worker: Worker,
    samples: Vec<Sample>,
}

/// An operation, so many at once, on all ways.
struct Contest {
    subject: &'static Subject,
    operation: &'static Operation,
    in_flight: usize,
    contestants: Vec<Contestant>,
}

impl Contest {
    /// Where each of those that work at once does its part.
    fn places(&self, ground: &Ground) -> Vec<String> {
        let (count, size) = (self.in_flight, self.operation.size);
        match self.operation.place {
            Some(place) => vec![place(ground); count],
            None => (0..count).map(|at| format!("w{at}-{size}")).collect(),
        }
    }

    /// Does what has to be done before.
    async fn prepare(&self, ground: &Ground) -> Result<()> {
        let Some(before) = self.operation.before else {
            return Ok(());
        };
        let mut places = self.places(ground);
        places.dedup();
        for contestant in &self.contestants {
            for place in &places {
                let batch = Batch {
                    kind: before,
                    place,
                    times: 1,
                    size: self.operation.size,
                };
                let done = contestant.worker.run(batch).await;
                done.with_context(|| format!("before `{}`", contestant.name))?;
            }
        }
        Ok(())
    }

    /// Takes one sample of a way.
    async fn sample(&self, ground: &Ground, at: usize, time: Duration) -> Result<Sample> {
        let contestant = &self.contestants[at];
        let places: Arc<[String]> = self.places(ground).into();
        let next = AtomicUsize::new(0);
        let operation = self.operation;
        let work = closed_loop(self.in_flight, time, |mut tally| {
            let (worker, places) = (Arc::clone(&contestant.worker), Arc::clone(&places));
            let own = next.fetch_add(1, Ordering::Relaxed) % places.len();
            async move {
                while tally.goes_on() {
                    let batch = Batch {
                        kind: operation.kind,
                        place: &places[own],
                        times: operation.times,
                        size: operation.size,
                    };
                    worker.run(batch).await?;
                    tally.done_many(u64::from(operation.times));
                }
                Ok(tally)
            }
        });
        let pids = ground.pids(self.subject, contestant.way)?;
        let sample = ground.meter.measure(&pids, work).await;
        sample.with_context(|| format!("could not measure `{}`", contestant.name))
    }
}

/// The ways of a subject.
async fn workers(ground: &Ground, subject: &'static Subject) -> Result<Vec<(Way, Worker)>> {
    let mut workers = Vec::new();
    for way in subject.ways() {
        let worker: Worker = match way {
            Way::Native => native::of(ground, subject).await?,
            Way::Sdk => sdk::of(ground, subject).await?,
            Way::InHost | Way::Process => Arc::new(ground.component(subject, way)),
        };
        workers.push((way, worker));
    }
    Ok(workers)
}

async fn contests(
    ground: &Ground,
    subjects: &[&'static Subject],
    wanted: &impl Fn(&str) -> bool,
) -> Result<Vec<Contest>> {
    let mut contests = Vec::new();
    for subject in subjects {
        let workers = workers(ground, subject).await?;
        for operation in subject.operations {
            for in_flight in IN_FLIGHT {
                let contestant = |(way, worker): &(Way, Worker)| Contestant {
                    name: figure_name(subject, operation, in_flight, *way),
                    way: *way,
                    worker: Arc::clone(worker),
                    samples: Vec::new(),
                };
                let contestants: Vec<_> = workers.iter().map(contestant).collect();
                if contestants.iter().any(|one| wanted(&one.name)) {
                    contests.push(Contest {
                        subject,
                        operation,
                        in_flight,
                        contestants,
                    });
                }
            }
        }
    }
    Ok(contests)
}

/// Whether any figure of a subject is asked for.
fn is_wanted(subject: &Subject, wanted: &impl Fn(&str) -> bool) -> bool {
    subject.operations.iter().any(|operation| {
        let names = IN_FLIGHT.iter().flat_map(|in_flight| {
            let name = |way| figure_name(subject, operation, *in_flight, way);
            subject.ways().map(name)
        });
        names.into_iter().any(|name| wanted(&name))
    })
}

/// Measures all operations that `wanted` chooses, on all ways, and adds the medians.
pub(crate) async fn run(
    report: &mut Report,
    rounds: usize,
    time: Duration,
    wanted: &impl Fn(&str) -> bool,
) -> Result<()> {
    let subjects = SUBJECTS.iter().filter(|subject| is_wanted(subject, wanted));
    let subjects: Vec<_> = subjects.collect();
    let ground = Ground::lay(&subjects).await?;
    let mut contests = contests(&ground, &subjects, wanted).await?;
    for contest in &contests {
        contest.prepare(&ground).await?;
        for at in 0..contest.contestants.len() {
            contest.sample(&ground, at, WARM_UP.min(time)).await?;
        }
    }
    for _ in 0..rounds {
        for contest in &mut contests {
            for at in 0..contest.contestants.len() {
                let sample = contest.sample(&ground, at, time).await?;
                contest.contestants[at].samples.push(sample);
            }
        }
    }
    for contest in &contests {
        tell(report, contest);
    }
    Ok(())
}

/// Adds the figures of a contest. A ratio is the median of those of the rounds: what comes between
/// two rounds meets both values of one.
fn tell(report: &mut Report, contest: &Contest) {
    let base = contest.subject.backing.base();
    for contestant in &contest.contestants {
        let mut figure = meter::throughput(&contestant.name, &contestant.samples);
        figure.p99_us = None;
        figure.subscriptions = None;
        // What a provider is compared with is itself compared with the client.
        let against = if contestant.way == base {
            Way::Native
        } else {
            base
        };
        let other = contest.contestants.iter().find(|one| one.way == against);
        if let Some(other) = other.filter(|_| contestant.way != Way::Native) {
            let pairs = contestant.samples.iter().zip(&other.samples);
            let ratios = pairs.map(|(own, other)| own.per_second / other.per_second);
            figure.ratio = Some(median(ratios.collect()));
            figure.of = Some(other.name.clone());
        }
        report.add(figure);
    }
}
