//! Refusing some of the calls whose wait nobody sees.
//!
//! A call that is made in this process begins as soon as its caller gets a thread, and mostly ends
//! without giving it back. What waits are the tasks that are about to make such calls, for a
//! thread: there is no queue to bound, and nothing that tells how long one of them has waited. What
//! is known is how long tasks wait for a thread altogether. So a share of the calls is refused, and
//! the share is what keeps that wait at its target: raised by how far the wait is above it and by
//! how fast it grows, as PIE does for the packets of a network (RFC 8033), whose target of a few
//! milliseconds serves here as well.
//!
//! Those who compute less than an equal share of what all do have nothing refused.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::member::Member;
use super::nanos;

/// How much the share changes in a [`STEP`] where the wait is twice the target, and where it has
/// grown by the target since the last time.
const BY_WAIT: f64 = 0.01;
const BY_GROWTH: f64 = 0.05;
const STEP: Duration = Duration::from_millis(10);

/// How many steps one look makes at most, however late it comes.
const MOST_STEPS: f64 = 8.0;

/// Never all: what goes on has to be seen.
const MOST: f64 = 0.95;

/// What a wait for a thread is held at: at least this, and as long as so many take, one after the
/// other, that keep a thread as long as those did lately. A few dozen callers for each core, who
/// call again when they have their answer, have nothing refused by that.
const SHORTEST: Duration = Duration::from_millis(5);
const STRETCHES: u32 = 32;

/// Of how many looks the length of a stretch is the average, or so.
const RECENT: u32 = 16;

/// For how long the wait has to be above its target before any is refused. Bursts pass by
/// themselves, and a thread that the system has taken a core from makes others wait, too.
const BURST: Duration = Duration::from_millis(150);

/// Sets the share of calls that is refused on threads of one kind.
#[derive(Debug, Default)]
pub(super) struct Control {
    share: f64,
    /// The last wait, in targets.
    before: f64,
    /// For how long the wait has been above its target.
    long: Duration,
}

impl Control {
    /// The share from now on, where tasks wait so long, and `time` has passed since the last time.
    pub(super) fn next(&mut self, wait: Duration, target: Duration, time: Duration) -> f64 {
        let steps = (time.as_secs_f64() / STEP.as_secs_f64()).min(MOST_STEPS);
        let wait = wait.as_secs_f64() / target.as_secs_f64();
        self.long = if wait > 1.0 {
            self.long + time
        } else {
            Duration::ZERO
        };
        if self.share <= 0.0 && self.long < BURST {
            self.before = wait;
            return 0.0;
        }
        let by_wait = (wait - 1.0).clamp(-1.0, 5.0) * BY_WAIT * steps;
        let by_growth = (wait - self.before).clamp(-1.0, 1.0) * BY_GROWTH;
        self.before = wait;
        self.share = (self.share + by_wait + by_growth).clamp(0.0, MOST);
        self.share
    }
}

/// The wait for a thread that calls are held at.
#[derive(Debug, Default)]
pub(super) struct Target {
    /// How long calls kept a thread at a stretch lately; most looks see few of them end.
    stretch: Option<Duration>,
}

impl Target {
    pub(super) fn next(&mut self, usage: &Usage) -> Duration {
        if let Some(now) = usage.stretch() {
            let before = self.stretch.unwrap_or(now);
            self.stretch = Some((before * (RECENT - 1) + now) / RECENT);
        }
        let stretch = self.stretch.unwrap_or_default();
        (stretch * STRETCHES).max(SHORTEST)
    }
}

/// What a member does with its threads.
#[derive(Debug, Default)]
pub(super) struct Use {
    /// How long its calls kept a thread since the last look, in nanoseconds, and in how many
    /// stretches, on each kind of threads.
    busy: [AtomicU64; 2],
    stretches: [AtomicU32; 2],
    /// How long they kept one lately, which fades from look to look: a look may see none end.
    recent: [AtomicU64; 2],
    /// The share of its calls that is refused, as parts of `u32::MAX`, on each kind of threads.
    refused: [AtomicU32; 2],
    /// Runs over each time that one is to be refused, so that those are evenly spread.
    owed: AtomicU32,
}

impl Use {
    pub(super) fn add(&self, busy: Duration, stretches: u32, kind: usize) {
        self.busy[kind].fetch_add(nanos(busy), Ordering::Relaxed);
        self.stretches[kind].fetch_add(stretches, Ordering::Relaxed);
    }

    /// Whether some calls are refused that are made on threads of that kind.
    pub(super) fn is_shed(&self, kind: usize) -> bool {
        self.refused[kind].load(Ordering::Relaxed) > 0
    }

    /// Whether the call that now comes is one of those that are refused.
    pub(super) fn refuses(&self, kind: usize) -> bool {
        let share = self.refused[kind].load(Ordering::Relaxed);
        share > 0
            && self
                .owed
                .fetch_add(share, Ordering::Relaxed)
                .checked_add(share)
                .is_none()
    }

    /// Whether a moment is one of the share of all moments in which calls had better go elsewhere.
    pub(super) fn sheds_at(&self, moment: Duration, kind: usize) -> bool {
        let share = self.refused[kind].load(Ordering::Relaxed);
        // Where in its hundred microseconds the moment is: nothing else goes by that.
        let place = moment.subsec_nanos() % 100_000;
        u64::from(place) * u64::from(u32::MAX) < u64::from(share) * 100_000
    }

    pub(super) fn refuse(&self, share: f64, kind: usize) {
        let parts = (share * f64::from(u32::MAX)) as u32;
        self.refused[kind].store(parts, Ordering::Relaxed);
    }

    /// What was used since the last time, and lately.
    fn take(&self, kind: usize) -> (u64, u32, u64) {
        let ordering = Ordering::Relaxed;
        let busy = self.busy[kind].swap(0, ordering);
        let before = self.recent[kind].load(ordering);
        let recent = before - before.div_ceil(u64::from(RECENT)) + busy;
        self.recent[kind].store(recent, ordering);
        (busy, self.stretches[kind].swap(0, ordering), recent)
    }
}

/// What the members did since the last look on threads of one kind.
#[derive(Debug, Default)]
pub(super) struct Usage {
    busy: u64,
    stretches: u32,
    /// What all and each did lately, and how many did something.
    all: u64,
    each: Vec<u64>,
    active: u64,
}

impl Usage {
    pub(super) fn take<'a>(members: impl Iterator<Item = &'a Member>, kind: usize) -> Self {
        let mut usage = Self::default();
        for member in members {
            let (busy, stretches, recent) = member.used.take(kind);
            usage.busy += busy;
            usage.stretches = usage.stretches.saturating_add(stretches);
            usage.all += recent;
            usage.active += u64::from(recent > 0);
            usage.each.push(recent);
        }
        usage
    }

    /// How long calls kept a thread at a stretch, on average; nothing where none has ended.
    fn stretch(&self) -> Option<Duration> {
        let nanos = self.busy.checked_div(u64::from(self.stretches))?;
        Some(Duration::from_nanos(nanos))
    }

    /// Whether the member at that place did about an equal share of it all, or more.
    pub(super) fn is_large(&self, place: usize) -> bool {
        let own = self.each.get(place).copied().unwrap_or_default();
        own > 0 && own.saturating_mul(self.active.max(1)) >= self.all / 5 * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(5);

    /// Has requests come at so many times what can be served, by at most so many callers at once,
    /// and gives how many of a second's worth are served, and the last wait.
    fn settle(load: f64, callers: f64, control: &mut Control) -> (f64, Duration) {
        let (service, refusal, look) = (100e-6, 10e-6, 0.01);
        let (mut queue, mut served, mut wait) = (0.0_f64, 0.0, Duration::ZERO);
        for step in 0..1000 {
            let share = control.next(wait, TARGET, STEP);
            let each = service * (1.0 - share) + refusal * share;
            let (came, most) = (load * look / service, look / each);
            let done = most.min(queue + came);
            queue = (queue + came - done).min(callers);
            wait = Duration::from_secs_f64(queue * each);
            if step >= 500 {
                served += done * (1.0 - share) * service / 5.0;
            }
        }
        (served, wait)
    }

    #[test]
    fn the_share_settles_where_the_wait_is_at_its_target() {
        for load in [1.2, 2.0, 3.0, 5.0] {
            let mut control = Control::default();
            let (served, wait) = settle(load, 1000.0, &mut control);
            assert!(wait < 2 * TARGET, "{load}: {wait:?}");
            assert!(served > 0.5, "{load}: {served}");
            let (served, wait) = settle(0.5, 1000.0, &mut control);
            assert!(served > 0.49 && wait < TARGET, "{load}: {served} {wait:?}");
            assert!(control.share < 0.01, "{load}: {}", control.share);
        }
    }

    #[test]
    fn a_few_callers_have_nothing_refused() {
        let mut control = Control::default();
        settle(10.0, 40.0, &mut control);
        assert!(control.share < f64::EPSILON, "{}", control.share);
    }

    #[test]
    fn the_refused_are_evenly_spread_among_the_others() {
        let used = Use::default();
        assert!(!used.refuses(0) && !used.is_shed(0));
        used.refuse(0.25, 0);
        let refused: Vec<_> = (0..100).filter(|_| used.refuses(0)).collect();
        assert!((24..=26).contains(&refused.len()), "{refused:?}");
        assert!(refused.windows(2).all(|two| two[1] - two[0] <= 5));
        assert!(!used.refuses(1));
        let moments = (0..1000).map(|nanos| Duration::from_nanos(nanos * 100));
        assert_eq!(moments.filter(|at| used.sheds_at(*at, 0)).count(), 250);
    }

    #[test]
    fn what_was_done_fades() {
        let used = Use::default();
        used.add(Duration::from_millis(8), 2, 1);
        assert_eq!(used.take(1), (8_000_000, 2, 8_000_000));
        let (busy, stretches, recent) = used.take(1);
        assert_eq!((busy, stretches), (0, 0));
        assert!((7_000_000..8_000_000).contains(&recent));
        for _ in 0..1000 {
            used.take(1);
        }
        assert_eq!(used.take(1), (0, 0, 0));
        assert_eq!(used.take(0), (0, 0, 0));
    }

    #[test]
    fn the_target_lasts_while_no_call_ends() {
        let mut target = Target::default();
        assert_eq!(target.next(&Usage::default()), SHORTEST);
        let usage = Usage {
            busy: 10_000_000,
            stretches: 2,
            all: 10_000_000,
            each: vec![10_000_000, 0],
            active: 1,
        };
        let long = target.next(&usage);
        assert_eq!(long, STRETCHES * Duration::from_millis(5));
        assert_eq!(target.next(&Usage::default()), long);
        assert!(usage.is_large(0) && !usage.is_large(1));
        assert!(!Usage::default().is_large(0));
    }
}
