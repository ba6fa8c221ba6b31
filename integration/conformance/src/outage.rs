//! A backend that goes away while a suite works, and comes back.
//!
//! The guest cannot tell what it did before: an instance does not outlive its call, and a call may
//! end with what goes down. So the driver makes each attempt with a call of its own, keeps what was
//! acknowledged, and has the guest compare it with what is there in the end.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use lattice_codec::{Reader, write};
use lattice_integration::params;
use lattice_rpc::{CallError, RemoteError};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::fault::{Blow, Strike};
use crate::ground::COMPONENT;
use crate::report::Outcome;
use crate::suite::{Case, Settings, Suite, Verdict, write_settings};
use crate::witness::Witness;

const OUTAGE: &str = "lattice:conformance/outage@0.1.0";
/// How long one attempt may take: longer than any backend is away, so that who waits for it hangs.
const ATTEMPT: Duration = Duration::from_secs(20);
/// The same where the call itself gets lost with the lattice's own NATS.
const ATTEMPT_IN_THE_DARK: Duration = Duration::from_secs(4);
/// How many attempts of a statement there are at once.
const WORKERS: usize = 3;
/// The pause of a worker between two attempts.
const PAUSE: Duration = Duration::from_millis(15);
/// How many attempts have to be acknowledged before the outage, and after it.
const ENOUGH: usize = 6;
/// How long that may take.
const WORKS: Duration = Duration::from_secs(15);
const WORKS_AGAIN: Duration = Duration::from_secs(45);
/// How many attempts are made at once in the end.
const CROWD: u32 = 64;
/// How long what was taken may need until it is there.
const SETTLED: Duration = Duration::from_secs(20);
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Every so often the guest is asked to trap, if it has something that a trap could leave undone.
const TRAPS: u32 = 7;

/// An attempt as it ended.
struct Tried {
    step: u32,
    told: Option<String>,
}

/// What a statement is tried with.
struct Trial {
    suite: Suite,
    name: String,
    /// Whether calls get lost as well.
    in_the_dark: bool,
    stop: AtomicBool,
    steps: AtomicU32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    first: Option<String>,
    tried: Vec<Tried>,
    /// The first thing that must not be.
    broken: Option<String>,
    /// The last error that the outage explains.
    last: String,
}

/// How an attempt ended.
enum End {
    Told(String),
    Explained(String),
    Broken(String),
}

/// Tries the statements of a suite whose names contain `filter` while its backend goes down.
pub(crate) async fn run(strike: &mut Strike<'_>, filter: &str) -> Result<Outcome> {
    let ground = &strike.ground;
    let suite = Suite::of(ground);
    let witness = Witness::of(&ground.lattice, &ground.peer, COMPONENT).await?;
    let in_the_dark = strike.backend.place.is_lattice();
    let trials: Vec<_> = statements(&suite)
        .await?
        .into_iter()
        .filter(|name| name.contains(filter))
        .map(|name| Arc::new(Trial::new(suite.clone(), name, in_the_dark)))
        .collect();
    let mut outcome = Outcome::default();
    for trial in &trials {
        trial.begin().await;
        let (name, verdict) = (trial.name.clone(), Verdict::Passed);
        outcome.cases.push(Case { name, verdict });
    }
    for blow in strike.blows() {
        let verdicts = round(strike, *blow, &trials, &witness).await?;
        for (case, verdict) in outcome.cases.iter_mut().zip(verdicts) {
            // What did not hold over one blow does not hold.
            if !matches!(case.verdict, Verdict::Failed(_)) {
                case.verdict = verdict;
            }
        }
    }
    Ok(outcome)
}

/// Has all of them tried while a blow falls, and asks afterwards whether they hold.
async fn round(
    strike: &mut Strike<'_>,
    blow: Blow,
    trials: &[Arc<Trial>],
    witness: &Witness,
) -> Result<Vec<Verdict>> {
    let mut workers = JoinSet::new();
    for trial in trials {
        trial.stop.store(false, Ordering::Relaxed);
        for _ in 0..WORKERS {
            workers.spawn(Arc::clone(trial).work());
        }
    }
    until_enough(trials, WORKS).await;
    strike.carry_out(blow).await?;
    let steps = trials.iter().map(|it| it.steps.load(Ordering::Relaxed));
    let since: Vec<_> = steps.collect();
    until_enough(trials, WORKS_AGAIN).await;
    for trial in trials {
        trial.stop.store(true, Ordering::Relaxed);
    }
    while workers.join_next().await.is_some() {}
    let forgets = blow == Blow::Death && strike.backend.forgets.is_some();
    let mut verdicts = Vec::new();
    for (trial, since) in trials.iter().zip(since) {
        Arc::clone(trial).crowd().await;
        let since = if forgets { since } else { 0 };
        verdicts.push(trial.verdict(witness, since, forgets).await);
    }
    Ok(verdicts)
}

async fn statements(suite: &Suite) -> Result<Vec<String>> {
    let function = format!("{OUTAGE}.statements");
    let answer = suite.call(&function, Bytes::new(), ATTEMPT).await;
    let mut read = Reader::new(answer.context("the suite states nothing about outages")?);
    let count = read.count(1)?;
    Ok((0..count)
        .map(|_| read.string())
        .collect::<Result<_, _>>()?)
}

/// Waits until each has enough acknowledged attempts more than now. One after the other: all of them go
/// on meanwhile.
async fn until_enough(trials: &[Arc<Trial>], within: Duration) {
    let counts: Vec<_> = trials.iter().map(|trial| trial.told()).collect();
    for (trial, count) in trials.iter().zip(counts) {
        trial.until_told(count + ENOUGH, within).await;
    }
}

impl Trial {
    fn new(suite: Suite, name: String, in_the_dark: bool) -> Self {
        Self {
            suite,
            name,
            in_the_dark,
            stop: AtomicBool::new(false),
            steps: AtomicU32::new(1),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many attempts were acknowledged.
    fn told(&self) -> usize {
        let state = self.state();
        state.tried.iter().filter(|t| t.told.is_some()).count()
    }

    fn is_broken(&self) -> bool {
        self.state().broken.is_some()
    }

    /// Makes the first attempt until it is acknowledged.
    async fn begin(&self) {
        let until = Instant::now() + WORKS;
        let ended = loop {
            match self.attempt(0).await {
                End::Explained(_) if Instant::now() < until => tokio::time::sleep(LOOK).await,
                End::Explained(why) => break End::Broken(format!("does not begin: {why}")),
                ended => break ended,
            }
        };
        if let End::Told(told) = &ended {
            self.state().first = Some(told.clone());
        }
        self.note(0, ended);
    }

    /// Makes attempts until it is stopped or something must not be.
    async fn work(self: Arc<Self>) {
        while !self.stop.load(Ordering::Relaxed) && !self.is_broken() {
            self.step().await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn step(&self) {
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        let ended = self.attempt(step).await;
        self.note(step, ended);
    }

    /// Makes many attempts at once.
    async fn crowd(self: Arc<Self>) {
        let mut crowd = JoinSet::new();
        for _ in 0..CROWD {
            let one = Arc::clone(&self);
            crowd.spawn(async move { one.step().await });
        }
        while crowd.join_next().await.is_some() {}
    }

    fn note(&self, step: u32, ended: End) {
        let mut state = self.state();
        let told = match ended {
            End::Told(told) => Some(told),
            End::Explained(why) => {
                state.last = why;
                None
            }
            End::Broken(why) => {
                state.broken.get_or_insert(format!("step {step}: {why}"));
                None
            }
        };
        state.tried.push(Tried { step, told });
    }

    fn settings(&self, step: Option<u32>) -> Settings {
        let mut settings = self.suite.settings.clone();
        if let Some(first) = &self.state().first {
            settings.push(("first".to_owned(), first.clone()));
        }
        if step.is_some_and(is_trap) {
            settings.push(("trap".to_owned(), String::new()));
        }
        settings
    }

    async fn attempt(&self, step: u32) -> End {
        let settings = self.settings(Some(step));
        let params = params(|out| {
            write::string(out, &self.name);
            write::uleb(out, step.into());
            write_settings(out, &settings);
        });
        let within = match self.in_the_dark {
            true => ATTEMPT_IN_THE_DARK,
            false => ATTEMPT,
        };
        let function = format!("{OUTAGE}.attempt");
        match self.suite.call(&function, params, within).await {
            Ok(answer) => read(answer).unwrap_or_else(|e| End::Broken(e.to_string())),
            Err(error) => self.failed(&error, step),
        }
    }

    /// How an attempt ended whose call failed.
    fn failed(&self, error: &CallError, step: u32) -> End {
        let is_trap_of_guest =
            matches!(error, CallError::Remote(remote) if remote.code == RemoteError::FAILED);
        match is_trap_of_guest {
            true if is_trap(step) => End::Explained("trapped as it was told to".to_owned()),
            false if self.in_the_dark => End::Explained(error.to_string()),
            _ => End::Broken(format!(
                "a call that ends with no error of its own: {error}"
            )),
        }
    }

    /// Waits until so many attempts were acknowledged.
    async fn until_told(&self, count: usize, within: Duration) {
        let until = Instant::now() + within;
        while !self.is_broken() && self.told() < count {
            if Instant::now() >= until {
                let mut state = self.state();
                let why = format!("does not work within {within:?}: {}", state.last);
                state.broken = Some(why);
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks whether the statement holds, for a while.
    async fn verdict(&self, witness: &Witness, since: u32, forgets: bool) -> Verdict {
        let until = Instant::now() + SETTLED;
        loop {
            if let Some(broken) = self.state().broken.clone() {
                return Verdict::Failed(broken);
            }
            let verdict = self.check(witness, since, forgets).await;
            if !matches!(verdict, Verdict::Failed(_)) || Instant::now() >= until {
                return verdict;
            }
            tokio::time::sleep(4 * LOOK).await;
        }
    }

    async fn check(&self, witness: &Witness, since: u32, forgets: bool) -> Verdict {
        let mut settings = self.settings(None);
        if forgets {
            settings.push(("forgets".to_owned(), String::new()));
        }
        let params = params(|out| {
            write::string(out, &self.name);
            let state = self.state();
            let tried = state.tried.iter().filter(|tried| tried.step >= since);
            write::uleb(out, tried.clone().count() as u64);
            for tried in tried {
                write::uleb(out, tried.step.into());
                write::option(out, tried.told.as_deref(), |out, told| {
                    write::string(out, told);
                });
            }
            let seen = witness.seen();
            write::uleb(out, seen.len() as u64);
            for seen in &seen {
                write::string(out, seen);
            }
            write_settings(out, &settings);
        });
        self.suite.judge(&format!("{OUTAGE}.check"), params).await
    }
}

/// Whether the guest is asked to trap at a step.
fn is_trap(step: u32) -> bool {
    step % TRAPS == TRAPS - 1
}

/// A `result<string, failure>`.
fn read(answer: Bytes) -> Result<End, lattice_codec::DecodeError> {
    let mut read = Reader::new(answer);
    if !read.result_is_err()? {
        return Ok(End::Told(read.string()?));
    }
    let case = read.case("failure", 2)?;
    let why = read.string()?;
    Ok(match case {
        0 => End::Broken(why),
        _ => End::Explained(why),
    })
}
