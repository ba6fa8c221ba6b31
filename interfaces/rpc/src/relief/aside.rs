//! Leaving the queue groups for a while, beside others who cannot be handed calls.
//!
//! NATS gives each member of a queue group its part, however busy it is. A server of the 1.9
//! lattice does not say that it has room, so that a full one of ours would refuse its part beside
//! an idle one of these. So where calls have had to wait for half a second, nobody of our kind has
//! room, and such a server is known to be there, all functions of the entity leave their queue
//! groups, and come back when there is room again. Where there is none nobody leaves: callers
//! would be told that nobody serves the function, instead of when to come again.

use std::time::Duration;

use lattice_core::Spread;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Relief;
use super::others::Others;
use super::pressure::Pressure;
use crate::limiter::Limiter;

/// For how long calls have had to wait before it is asked who else serves the entity, and before
/// the queue groups are left.
const ASK_AFTER: Duration = Duration::from_millis(250);
const LEAVE_AFTER: Duration = Duration::from_millis(500);

/// How often it is looked whether calls still wait, and whether there is room again.
const LOOK: Duration = Duration::from_millis(25);

/// How long it takes at least until the functions come back: each change is told to every server
/// of the cluster. Up to as much again is added, so that not all hosts come back at once.
const SHORTEST: Duration = Duration::from_secs(1);

/// How long it takes at most.
const LONGEST: Duration = Duration::from_secs(10);

/// How long it counts what is known of the others, and how long they may take to tell.
const KNOWN_FOR: Duration = Duration::from_secs(2);
const ASK_WITHIN: Duration = Duration::from_secs(1);

/// For how long further absences are told to those alone who look for details.
const QUIET: Duration = Duration::from_secs(60);

/// Whether the functions of an entity are to be out of their queue groups.
#[derive(Debug, Default)]
pub(super) struct Aside {
    now: watch::Sender<bool>,
    /// How many functions have been served so far: what is known of the others is of these.
    functions: Mutex<usize>,
}

impl Aside {
    /// For one more function.
    pub(super) fn absences(&self) -> Absences {
        let mut functions = self.functions.lock();
        *functions += 1;
        Absences(self.now.subscribe())
    }

    fn functions(&self) -> usize {
        *self.functions.lock()
    }
}

/// Learns when a function is to leave its queue group and when to come back.
#[derive(Debug)]
pub(crate) struct Absences(watch::Receiver<bool>);

impl Absences {
    /// Waits until an absence begins. One that has begun before the function was served is not
    /// for it: whether others serve it was not asked then.
    pub(crate) async fn begins(&mut self) {
        while self.0.changed().await.is_ok() {
            if *self.0.borrow_and_update() {
                return;
            }
        }
        std::future::pending().await
    }

    /// Waits until it has ended.
    pub(crate) async fn ends(&mut self) {
        // The relief is held by whoever waits here.
        _ = self.0.wait_for(|aside| !aside).await;
    }
}

/// What is known of the others.
#[derive(Debug, Default)]
struct Known {
    serve: bool,
    /// How many functions there were when they were asked.
    functions: usize,
    until: Option<Instant>,
}

/// Sends the functions of one entity away and calls them back.
#[derive(Debug)]
pub(super) struct Keeper<'a> {
    pub(super) limiter: &'a Limiter,
    pub(super) others: &'a dyn Others,
    pub(super) relief: &'a Relief,
    /// After which nobody comes back, since the functions are about to end.
    pub(super) ended: &'a CancellationToken,
    /// The queue group, for those who read what happens.
    pub(super) group: &'a str,
}

impl Keeper<'_> {
    /// Has the functions leave whenever that helps. `elsewhere` asks whether somebody has room who
    /// can be handed calls.
    pub(super) async fn keep<F>(&self, elsewhere: impl Fn() -> F)
    where
        F: Future<Output = bool>,
    {
        let (mut pressure, mut known) = (Pressure::default(), Known::default());
        let mut told: Option<Instant> = None;
        loop {
            self.press_on(&mut pressure, ASK_AFTER).await;
            let helps = async { !elsewhere().await && self.others_serve(&mut known).await };
            if self.still_pressed(&mut pressure, helps).await
                && let Some(absence) = Absence::begin(self, known.functions)
            {
                let loud = told.is_none_or(|told| told.elapsed() >= QUIET);
                if loud {
                    told = Some(Instant::now());
                }
                self.stay_away(absence, &mut known, loud).await;
            }
            pressure.forget();
        }
    }

    /// Waits until calls have had to wait for so long.
    async fn press_on(&self, pressure: &mut Pressure, time: Duration) {
        loop {
            match pressure.look(self.limiter) {
                None => pressure.wait(self.limiter).await,
                Some(pressed) if pressed >= time => return,
                Some(_) => {}
            }
            // Also where some are refused while there is room: each of tens of thousands a second would
            // wake another thread.
            sleep(LOOK).await;
        }
    }

    /// Whether it helps to leave, and calls wait without a break until that is known and it is
    /// time for it.
    async fn still_pressed(
        &self,
        pressure: &mut Pressure,
        helps: impl Future<Output = bool>,
    ) -> bool {
        let breaks = async {
            while pressure.look(self.limiter).is_some() {
                sleep(LOOK).await;
            }
        };
        let helps = tokio::select! {
            biased;
            () = breaks => false,
            helps = helps => helps,
        };
        if !helps {
            return false;
        }
        while let Some(pressed) = pressure.look(self.limiter) {
            if pressed >= LEAVE_AFTER {
                return !self.relief.knows_other();
            }
            sleep(LOOK).await;
        }
        false
    }

    async fn others_serve(&self, known: &mut Known) -> bool {
        let functions = self.relief.aside.functions();
        let until = known.until.filter(|_| functions == known.functions);
        if until.is_none_or(|until| until <= Instant::now()) {
            let told = timeout(ASK_WITHIN, self.others.serve()).await;
            *known = Known {
                serve: told.unwrap_or(false),
                functions,
                until: Some(Instant::now() + KNOWN_FOR),
            };
        }
        known.serve
    }

    async fn stay_away(&self, absence: Absence<'_>, known: &mut Known, loud: bool) {
        const LEFT: &str = "leaves its queue groups to others while calls wait here";
        match loud {
            true => tracing::info!(group = self.group, "{LEFT}"),
            false => tracing::debug!(group = self.group, "{LEFT}"),
        }
        let began = Instant::now();
        let why = self.until_back(known, began).await;
        drop(absence);
        let away = began.elapsed();
        match loud {
            true => tracing::info!(group = self.group, ?away, "back in its queue groups: {why}"),
            false => tracing::debug!(group = self.group, ?away, "back in its queue groups: {why}"),
        }
    }

    /// Waits until it is time to come back, and says why it is.
    async fn until_back(&self, known: &mut Known, began: Instant) -> &'static str {
        let soonest = began + Spread::Longer.of(SHORTEST);
        let back = async {
            loop {
                sleep(LOOK).await;
                if Instant::now() >= soonest && self.limiter.room() > 0 {
                    return "there is room again";
                }
            }
        };
        let alone = async {
            while self.others_serve(known).await {
                sleep(KNOWN_FOR / 4).await;
            }
        };
        tokio::select! {
            back = back => back,
            () = alone => "nobody else is known to serve it any more",
            () = sleep(LONGEST) => "others have had its part for long enough",
        }
    }
}

/// Functions are away as long as it is held.
#[derive(Debug)]
struct Absence<'a> {
    aside: &'a Aside,
    ended: &'a CancellationToken,
}

impl<'a> Absence<'a> {
    /// Begins one, unless there are functions that the others were not asked about.
    fn begin(keeper: &Keeper<'a>, functions: usize) -> Option<Self> {
        let aside = &keeper.relief.aside;
        let served = aside.functions.lock();
        if *served != functions {
            return None;
        }
        aside.now.send_replace(true);
        let ended = keeper.ended;
        Some(Self { aside, ended })
    }
}

impl Drop for Absence<'_> {
    fn drop(&mut self) {
        if !self.ended.is_cancelled() {
            self.aside.now.send_replace(false);
        }
    }
}

#[cfg(test)]
mod tests;
