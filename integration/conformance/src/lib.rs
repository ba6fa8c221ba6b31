//! Runs the suite of each capability over every backend and every form of its provider.
//!
//! A suite is a component (`integration/guests/suite-*`) that imports the interface under test and
//! exports its cases. What stands behind the interface is a link, so the same component meets
//! every [`Backend`] of the [catalog](CATALOG) as a real service, through a provider in each
//! [`Form`]: inside the host, as a process beside it, and on another host.

mod catalog;
mod ground;
mod report;
mod suite;

pub use catalog::{Backend, CATALOG, Capability, find};
pub use ground::{Form, Ground};
pub use report::{Outcome, Report, Row};
pub use suite::{Case, Verdict};

use anyhow::{Context as _, Result};

/// Runs the cases of a capability whose names contain `filter` over a backend in one form of its
/// provider.
///
/// # Errors
///
/// Fails when the ground cannot be laid: a service, host, provider or link does not come up.
pub async fn run(
    capability: &Capability,
    backend: &Backend,
    form: Form,
    filter: &str,
) -> Result<Outcome> {
    let what = || {
        format!(
            "{} over {} ({})",
            capability.name,
            backend.name,
            form.name()
        )
    };
    let ground = Ground::lay(capability, backend, form)
        .await
        .with_context(what)?;
    let cases = suite::cases(&ground).await.with_context(what)?;
    let mut outcome = Outcome::default();
    for name in cases.into_iter().filter(|name| name.contains(filter)) {
        let verdict = suite::run(&ground, &name).await;
        outcome.cases.push(Case { name, verdict });
    }
    Ok(outcome)
}
