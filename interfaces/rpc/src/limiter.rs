//! How many calls run at once, and how many may wait for a turn.

mod permit;
mod strain;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::error::RemoteError;
use crate::gate::{Gate, Seat, Spent, Turn};
pub use permit::Permit;
use permit::{Core, Slot};
use strain::{Census, Strain};

/// After how long a wait for a turn somebody else is looked for who has one, and after how long there is
/// more than can be done.
const PATIENCE: Duration = Duration::from_millis(10);
const MUCH_PATIENCE: Duration = Duration::from_millis(100);

/// Bounds the calls that run at once, with a bounded queue in front.
///
/// A call that finds the queue full, or would wait longer than it may, is refused and has not
/// started. Permits are given back when dropped.
#[derive(Debug)]
pub struct Limiter {
    core: Arc<Core>,
    /// Those of the queued that wait for their parameters.
    places: AtomicUsize,
    /// How many were taken in and have not asked for their turn yet.
    coming: AtomicUsize,
    max_queued: usize,
    max_wait: Duration,
    pressed: Notify,
    pressed_hard: Notify,
    /// What bounds it together with others.
    seat: Option<Seat>,
    strain: Strain,
}

/// What a limiter holds right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimiterStats {
    /// How many calls may run at once.
    pub size: usize,
    /// How many permits are free.
    pub free: usize,
    /// How many calls wait.
    pub queued: usize,
}

/// What a call that asks for its turn tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a> {
    /// When it came in.
    pub(crate) arrived: Instant,
    /// When it has to be answered.
    pub(crate) deadline: Instant,
    /// Who calls.
    pub(crate) source: Option<&'a str>,
}

impl Limiter {
    /// Allows `size` calls at once; `max_queued` more wait, each up to `max_wait`.
    pub fn new(size: usize, max_queued: usize, max_wait: Duration) -> Self {
        Self {
            core: Arc::new(Core::new(size)),
            places: AtomicUsize::new(0),
            coming: AtomicUsize::new(0),
            max_queued,
            max_wait,
            pressed: Notify::new(),
            pressed_hard: Notify::new(),
            seat: None,
            strain: Strain::new(max_wait),
        }
    }

    /// Lets the calls pass a gate as well, those of the component called `name`.
    #[must_use]
    pub fn behind(mut self, gate: &Gate, name: &str) -> Self {
        self.seat = Some(gate.join(name));
        self
    }

    /// Waits until a call is refused, or has waited for its turn for a hundredth of a second.
    pub(crate) async fn pressed(&self) {
        self.pressed.notified().await;
    }

    /// Waits until a call is refused, or has waited for its turn for a tenth of a second.
    pub(crate) async fn pressed_hard(&self) {
        self.pressed_hard.notified().await;
    }

    /// Whether that came to pass since it was last asked or waited for.
    pub(crate) fn was_pressed_hard(&self) -> bool {
        self.pressed_hard().now_or_never().is_some()
    }

    /// How many calls more would get their turn at once; 0 when some wait.
    pub(crate) fn room(&self) -> usize {
        let sheds = self.seat.as_ref().is_some_and(Seat::is_shed);
        if self.lets_wait() || !self.is_open() || sheds {
            return 0;
        }
        self.left()
    }

    /// Whether a call would get its turn at once.
    pub(crate) fn has_room(&self) -> bool {
        self.left() > 0 && self.is_open()
    }

    /// The permits that nobody has or is about to take.
    fn left(&self) -> usize {
        let coming = self.coming.load(Ordering::Relaxed);
        self.core.free().saturating_sub(coming)
    }

    /// Counts a call that asks for its turn a little later, in a task of its own, until this is dropped.
    pub(crate) fn coming(self: &Arc<Self>) -> Coming {
        self.coming.fetch_add(1, Ordering::Relaxed);
        Coming(Arc::clone(self))
    }

    fn is_open(&self) -> bool {
        self.seat.as_ref().is_none_or(Seat::has_room)
    }

    /// Whether calls wait for their turn, other than those that wait for their parameters.
    pub(crate) fn lets_wait(&self) -> bool {
        self.core.queued.load(Ordering::Relaxed) > self.places.load(Ordering::Relaxed)
    }

    /// What is held right now.
    pub fn stats(&self) -> LimiterStats {
        LimiterStats {
            size: self.core.size(),
            free: self.core.free(),
            queued: self.core.queued.load(Ordering::Relaxed),
        }
    }

    /// Allows `size` calls at once from now on. Calls under way go on; when there are more of them
    /// than allowed, no other starts before enough have ended.
    pub fn resize(&self, size: usize) {
        self.core.resize(size);
    }

    /// Waits for a turn, no longer than the queue allows and not past `deadline`.
    ///
    /// # Errors
    ///
    /// An error with the code `overloaded`: the queue is full or the wait too long.
    pub async fn acquire(&self, deadline: Instant) -> Result<Permit, RemoteError> {
        let claim = Claim {
            arrived: Instant::now(),
            deadline,
            source: None,
        };
        self.admit(claim).await
    }

    /// As [`Limiter::acquire`], for a call that came in earlier: what it waited counts.
    pub(crate) async fn admit(&self, claim: Claim<'_>) -> Result<Permit, RemoteError> {
        let now = Instant::now();
        match self.try_admit(&claim, now) {
            Some(permit) => Ok(permit),
            // In a box, so that what most calls do without makes no call larger.
            None => Box::pin(self.wait(&claim, now)).await,
        }
    }

    /// A turn at once. Few atomic operations, since all calls pass here.
    fn try_admit(&self, claim: &Claim<'_>, now: Instant) -> Option<Permit> {
        let late = now.saturating_duration_since(claim.arrived);
        if now >= claim.deadline || self.is_too_late(late) {
            return None;
        }
        let slot = Slot::try_take(&self.core)?;
        let Some(seat) = &self.seat else {
            return Some(slot.begin(now, None));
        };
        let turn = seat.try_enter()?;
        self.strain.note(now, late, || self.census());
        Some(slot.begin(now, Some(turn)))
    }

    /// Whether a call waited too long before it was even looked at.
    fn is_too_late(&self, late: Duration) -> bool {
        self.seat.is_some()
            && self.strain.is_on()
            && late > self.strain.patience(self.core.service())
    }

    async fn wait(&self, claim: &Claim<'_>, now: Instant) -> Result<Permit, RemoteError> {
        let late = now.saturating_duration_since(claim.arrived);
        if now >= claim.deadline {
            let text = "the time of the call had passed before it got a turn";
            return Err(RemoteError::new(RemoteError::DEADLINE, text));
        }
        if self.is_too_late(late) {
            self.strain.note(now, late, || self.census());
            return Err(self.refusal("it has more calls than it can serve in time", None));
        }
        let waiting = Waiting::enter(&self.core.queued);
        if waiting.position >= self.max_queued {
            return Err(self.refusal("its queue is full", self.core.wait_of(waiting.position)));
        }
        let before = waiting.position - self.places.load(Ordering::Relaxed).min(waiting.position);
        let allowed = self.allowed().saturating_sub(late);
        let expected = self.core.wait_of(before);
        if expected.is_some_and(|expected| expected > allowed.min(claim.deadline - now)) {
            return Err(self.refusal("no turn would come in time", expected));
        }
        let until = claim.deadline.min(claim.arrived + self.max_wait);
        let Some((slot, turn)) = self.turn(claim, now, until).await else {
            return Err(self.refusal("no turn came in time", self.core.wait_of(before)));
        };
        let begins = Instant::now();
        let waited = begins.saturating_duration_since(claim.arrived);
        let counts = if self.is_engaged() { waited } else { late };
        self.strain.note(begins, counts, || self.census());
        if waited > self.allowed() {
            return Err(self.refusal("no turn came in time", None));
        }
        Ok(slot.begin(begins, turn))
    }

    /// How long a call may wait now. What waits for the component's own permits alone may do so
    /// as long as the queue allows.
    fn allowed(&self) -> Duration {
        if self.strain.is_on() && self.is_engaged() {
            self.strain.patience(self.core.service())
        } else {
            self.max_wait
        }
    }

    fn census(&self) -> Census {
        Census {
            service: self.core.service(),
            present: self.core.queued.load(Ordering::Relaxed) + self.core.running(),
        }
    }

    fn is_engaged(&self) -> bool {
        self.seat.as_ref().is_some_and(Seat::is_engaged)
    }

    /// Waits for a permit, and for a turn at the gate.
    async fn turn(
        &self,
        claim: &Claim<'_>,
        now: Instant,
        until: Instant,
    ) -> Option<(Slot, Option<Turn>)> {
        let turn = async {
            let slot = Slot::take(&self.core).await;
            let turn = match &self.seat {
                Some(seat) => Some(seat.enter(claim.source).await),
                None => None,
            };
            (slot, turn)
        };
        tokio::pin!(turn);
        for (patience, pressed) in [
            (PATIENCE, &self.pressed),
            (MUCH_PATIENCE, &self.pressed_hard),
        ] {
            if let Ok(turn) = timeout_at(until.min(now + patience), &mut turn).await {
                return Some(turn);
            }
            pressed.notify_one();
        }
        timeout_at(until, turn).await.ok()
    }

    /// Whether it is of use to learn what calls count.
    pub(crate) fn learns(&self) -> bool {
        self.seat.is_some()
    }

    /// How long a task waits for a thread of the kind that this is called on, if that is watched.
    pub(crate) fn wait_here(&self) -> Duration {
        self.seat.as_ref().map(Seat::wait_here).unwrap_or_default()
    }

    /// Learns from a call that has ended what the next ones count.
    pub(crate) fn learn(&self, spent: Spent) {
        if let Some(seat) = &self.seat {
            seat.learn(spent);
        }
    }

    /// Whether a call had better go elsewhere, as a share of them has to while the host refuses
    /// some. It may be asked more than once for a call, so it depends on the moment alone.
    pub(crate) fn sheds_now(&self, source: Option<&str>) -> bool {
        self.seat
            .as_ref()
            .is_some_and(|seat| seat.sheds_now(source))
    }

    /// Refuses a call of `source` that would run where it is made, if the host cannot serve it in
    /// time: what such a call waited for a thread is not known. To be asked once for each.
    pub(crate) fn turn_away(&self, source: Option<&str>) -> Option<RemoteError> {
        let seat = self.seat.as_ref()?;
        let why = "it has more calls than it can serve in time";
        seat.refuses(source).then(|| self.refusal(why, None))
    }

    /// Takes a place in the queue for a call that cannot run yet, as its parameters are on their
    /// way. It counts as one of the queue and waits for no turn meanwhile.
    ///
    /// # Errors
    ///
    /// An error with the code `overloaded`: the queue is full.
    pub(crate) fn place(self: &Arc<Self>) -> Result<Place, RemoteError> {
        let before = self.core.queued.fetch_add(1, Ordering::Relaxed);
        self.places.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self));
        if before >= self.max_queued {
            return Err(self.refusal("its queue is full", None));
        }
        Ok(place)
    }

    /// What a call is told that gets no turn; `wait` is how long one that comes now would wait.
    fn refusal(&self, why: &str, wait: Option<Duration>) -> RemoteError {
        self.pressed.notify_one();
        self.pressed_hard.notify_one();
        self.strain.refused(Instant::now());
        let is_busy = |seat: &Seat| seat.is_engaged() || seat.is_shed();
        let (text, hint) = if self.seat.as_ref().is_some_and(is_busy) {
            (
                format!("the host is busy and {why}"),
                "run the component on more hosts, or call less often",
            )
        } else {
            (
                format!("all {} instances are busy and {why}", self.core.size()),
                "raise the component's maximum of instances, or call less often",
            )
        };
        let error = RemoteError::new(RemoteError::OVERLOADED, text).with_hint(hint);
        match wait {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }
}

/// A call that is about to ask for its turn.
#[derive(Debug)]
pub(crate) struct Coming(Arc<Limiter>);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.coming.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place in the queue, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Limiter>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.places.fetch_sub(1, Ordering::Relaxed);
        self.0.core.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts one waiting call, also when its wait is dropped.
struct Waiting<'a> {
    queued: &'a AtomicUsize,
    position: usize,
}

impl<'a> Waiting<'a> {
    fn enter(queued: &'a AtomicUsize) -> Self {
        Self {
            queued,
            position: queued.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }
}
