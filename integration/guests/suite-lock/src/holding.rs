//! Holding a lock, and proving it.

use crate::bindings::lattice::lock::lock;
use crate::bindings::lattice::lock::types::Error;
use crate::kit::{Case, LONG, Run, Verdict, equal, failed, give, held, holds, over, take};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("a lock has one holder at a time", one_holder),
    ("a fence is greater than all before it", fences_grow),
    ("the provider tells what it promises", promises),
    ("a release is done once", released_once),
    ("a token that was made up is not held", forged),
    ("a token is of its store only", other_store),
    ("a renewal keeps the fence", renewed),
    ("who inspects a lock sees its holder", inspected),
    ("waiting for what is free takes it at once", no_wait),
];

fn one_holder(run: &Run<'_>) -> Verdict {
    let name = run.name("one");
    let lease = take(&name, LONG)?;
    equal("the name", &lease.name, &name)?;
    let holder = held(&name, 0)?;
    equal("the fence of the holder", holder.fence, lease.fence)?;
    holds("the holder has a name", !holder.owner.is_empty())?;
    give(&lease)?;
    let next = take(&name, LONG)?;
    holds(
        "every acquisition has another token",
        next.token != lease.token,
    )?;
    over(&lease)?;
    equal("who holds it", held(&name, 0)?.fence, next.fence)?;
    give(&next)
}

fn fences_grow(run: &Run<'_>) -> Verdict {
    let name = run.name("fences");
    let mut last = 0;
    for _ in 0..20 {
        let lease = take(&name, LONG)?;
        if lease.fence <= last {
            return Err(failed(format!("fence {} after {last}", lease.fence)));
        }
        last = lease.fence;
        give(&lease)?;
    }
    Ok(())
}

fn promises(run: &Run<'_>) -> Verdict {
    holds("fencing is a feature", run.feature("fencing").is_some())?;
    let consistency = run.feature("consistency").unwrap_or_default();
    let known = ["linearizable", "best-effort"].contains(&consistency);
    holds("consistency is one of two", known)?;
    let (least, most) = (run.number("ttl-min-ms")?, run.number("ttl-max-ms")?);
    holds("there is room for leases", least < most)
}

fn released_once(run: &Run<'_>) -> Verdict {
    let lease = take(&run.name("released"), LONG)?;
    give(&lease)?;
    over(&lease)
}

fn forged(run: &Run<'_>) -> Verdict {
    let name = run.name("forged");
    let lease = take(&name, LONG)?;
    let zeros = format!("{}.{name}", "0".repeat(32));
    for token in ["", ".", "x", &name, &zeros] {
        let released = lock::release("", token);
        equal("a release", released, Err(Error::NotHeld))?;
        let renewed = lock::renew("", token, LONG);
        equal("a renewal", renewed, Err(Error::NotHeld))?;
    }
    give(&lease)
}

fn other_store(run: &Run<'_>) -> Verdict {
    let (name, store) = (run.name("stores"), run.name("store"));
    let own = take(&name, LONG)?;
    let other = lock::acquire(&store, &name, LONG, 0)?;
    equal("the store", &other.store, &store)?;
    let released = lock::release("", &other.token);
    equal("a release in another store", released, Err(Error::NotHeld))?;
    give(&other)?;
    // These are all names of the same one.
    let again = lock::acquire("default", &name, LONG, 0);
    holds(
        "it is held in `default`",
        matches!(again, Err(Error::Held(_))),
    )?;
    Ok(lock::release("default", &own.token)?)
}

fn renewed(run: &Run<'_>) -> Verdict {
    let name = run.name("renewed");
    let lease = take(&name, LONG)?;
    for ttl_ms in [LONG, 2 * LONG, LONG / 2] {
        let again = lock::renew("", &lease.token, ttl_ms)?;
        equal("the fence", again.fence, lease.fence)?;
        equal("the token", &again.token, &lease.token)?;
        equal("the time", again.ttl_ms, ttl_ms)?;
        let left = held(&name, 0)?.expires_in_ms.unwrap_or(ttl_ms);
        let near = left <= ttl_ms && left + 5000 >= ttl_ms;
        holds("the time begins anew", near)?;
    }
    give(&lease)
}

fn inspected(run: &Run<'_>) -> Verdict {
    let name = run.name("inspected");
    equal("nobody", lock::inspect("", &name)?, None)?;
    let lease = take(&name, LONG)?;
    let holder = lock::inspect("", &name)?.ok_or_else(|| failed("it is held"))?;
    equal("the fence", holder.fence, lease.fence)?;
    let left = holder.expires_in_ms.unwrap_or(LONG);
    holds("its time goes down", left <= LONG)?;
    give(&lease)?;
    equal("nobody any more", lock::inspect("", &name)?, None)
}

fn no_wait(run: &Run<'_>) -> Verdict {
    let name = run.name("free");
    let lease = lock::acquire("", &name, LONG, 3000)?;
    give(&lease)
}
