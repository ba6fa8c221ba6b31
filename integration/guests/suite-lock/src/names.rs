//! What locks may be called.

use crate::bindings::lattice::lock::lock;
use crate::bindings::lattice::lock::types::Error;
use crate::kit::{Case, LONG, Run, Verdict, failed, give, take};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    ("any text up to 512 bytes is a name", any_text),
    ("names that look alike do not mix", no_mix),
    ("a name that cannot be is refused as one", refused),
];

fn any_text(run: &Run<'_>) -> Verdict {
    let long = "n".repeat(512 - run.name("").len());
    for name in [
        "a b",
        "a:b",
        "a/b",
        "a.b",
        "a*b",
        "a>b",
        "ü€🦀",
        "{a}",
        "..",
        "a\nb",
        &long,
    ] {
        let name = run.name(name);
        let lease = take(&name, LONG)?;
        if lock::inspect("", &name)?.is_none() {
            return Err(failed(format!("`{name}` is held")));
        }
        lock::renew("", &lease.token, LONG)?;
        give(&lease)?;
    }
    Ok(())
}

fn no_mix(run: &Run<'_>) -> Verdict {
    let names = ["a", "a/", "a/b", "A", "a.", "a ", "a=20", "a%20", "1:a"];
    let leases = names
        .iter()
        .map(|name| take(&run.name(name), LONG))
        .collect::<Result<Vec<_>, _>>()?;
    leases.iter().try_for_each(give)
}

fn refused(_: &Run<'_>) -> Verdict {
    for name in ["", &"n".repeat(513)] {
        let all = [
            lock::acquire("", name, LONG, 0).map(drop),
            lock::inspect("", name).map(drop),
        ];
        if let Some(other) = all
            .iter()
            .find(|it| !matches!(it, Err(Error::InvalidName(_))))
        {
            return Err(failed(format!("{other:?}, wanted invalid-name")));
        }
    }
    Ok(())
}
