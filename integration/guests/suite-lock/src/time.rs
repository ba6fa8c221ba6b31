//! How long leases and waits last.

use std::thread::sleep;
use std::time::Duration;

use crate::bindings::lattice::lock::lock;
use crate::bindings::lattice::lock::types::Error;
use crate::kit::{Case, LONG, Run, Verdict, equal, failed, give, held, holds, over, take, timed};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("a lease that nobody renews ends within a second", expires),
    (
        "a holder that slept is fenced out of the guarded store",
        fenced_out,
    ),
    ("a lease that is renewed lasts", lasts),
    ("a wait ends when its time is over", wait_ends),
    ("a wait ends when the holder's lease does", wait_succeeds),
    (
        "a short lease is made as long as the backend can keep",
        raised,
    ),
    ("a lease that is too long is refused", too_long),
    ("no time means that of the link", usual),
];

/// What a holder writes to. It takes nothing from one with an older fence than the last.
#[derive(Default)]
struct Guarded {
    fence: u64,
    value: &'static str,
}

impl Guarded {
    fn write(&mut self, fence: u64, value: &'static str) -> bool {
        let takes = fence >= self.fence;
        if takes {
            (self.fence, self.value) = (fence, value);
        }
        takes
    }
}

fn expires(run: &Run<'_>) -> Verdict {
    let (ttl_ms, patience) = run.shortest()?;
    let name = run.name("expires");
    let lease = take(&name, ttl_ms)?;
    equal("the time", lease.ttl_ms, ttl_ms)?;
    sleep(patience);
    equal("nobody holds it", lock::inspect("", &name)?, None)?;
    over(&lease)?;
    let next = take(&name, LONG)?;
    holds("the fence grows", next.fence > lease.fence)?;
    over(&lease)?;
    give(&next)
}

fn fenced_out(run: &Run<'_>) -> Verdict {
    let (ttl_ms, patience) = run.shortest()?;
    let name = run.name("fenced");
    let mut store = Guarded::default();
    let sleeper = take(&name, ttl_ms)?;
    holds("the holder writes", store.write(sleeper.fence, "first"))?;
    sleep(patience);
    let next = take(&name, LONG)?;
    holds("the next holder writes", store.write(next.fence, "next"))?;
    holds(
        "the late holder does not",
        !store.write(sleeper.fence, "late"),
    )?;
    equal("the value", store.value, "next")?;
    over(&sleeper)?;
    equal("the holder", held(&name, 0)?.fence, next.fence)?;
    give(&next)
}

fn lasts(run: &Run<'_>) -> Verdict {
    let (ttl_ms, _) = run.shortest()?;
    let name = run.name("lasts");
    let lease = take(&name, ttl_ms)?;
    for _ in 0..6 {
        sleep(Duration::from_millis(u64::from(ttl_ms / 3)));
        let again = lock::renew("", &lease.token, ttl_ms)?;
        equal("the fence", again.fence, lease.fence)?;
        equal("the holder", held(&name, 0)?.fence, lease.fence)?;
    }
    give(&lease)
}

fn wait_ends(run: &Run<'_>) -> Verdict {
    let name = run.name("waited");
    let lease = take(&name, LONG)?;
    let (holder, took) = timed(|| held(&name, 700));
    equal("the holder", holder?.fence, lease.fence)?;
    let in_time = (600..3000).contains(&took.as_millis());
    holds(&format!("a wait of 700 ms took {took:?}"), in_time)?;
    give(&lease)
}

fn wait_succeeds(run: &Run<'_>) -> Verdict {
    let (ttl_ms, patience) = run.shortest()?;
    let name = run.name("succeeds");
    let first = take(&name, ttl_ms)?;
    let (next, took) = timed(|| lock::acquire("", &name, LONG, LONG));
    let next = next?;
    holds("the fence grows", next.fence > first.fence)?;
    holds(
        &format!("a lease of {ttl_ms} ms ended after {took:?}"),
        took <= patience,
    )?;
    over(&first)?;
    give(&next)
}

fn raised(run: &Run<'_>) -> Verdict {
    let lease = take(&run.name("raised"), 1)?;
    equal("the time", lease.ttl_ms, run.number("ttl-min-ms")?)
}

fn too_long(run: &Run<'_>) -> Verdict {
    let longest = run.number("ttl-max-ms")?;
    let name = run.name("long");
    match lock::acquire("", &name, longest.saturating_add(1), 0) {
        Err(Error::InvalidTtl(why)) => holds("the reason is told", !why.is_empty())?,
        other => return Err(failed(format!("{other:?}, wanted invalid-ttl"))),
    }
    let lease = take(&name, longest)?;
    equal("the time", lease.ttl_ms, longest)?;
    give(&lease)
}

fn usual(run: &Run<'_>) -> Verdict {
    let lease = take(&run.name("usual"), 0)?;
    let least = run.number("ttl-min-ms")?;
    holds("there is a time", lease.ttl_ms >= least && lease.ttl_ms > 1)?;
    let again = lock::renew("", &lease.token, 0)?;
    equal("the time", again.ttl_ms, lease.ttl_ms)?;
    give(&lease)
}
