//! Runs the suite of each capability over every backend and every form of its provider.
//!
//! A suite is a component (`integration/guests/suite-*`) that imports the interface under test and
//! exports its cases. What stands behind the interface is a link, so the same component meets
//! every [`Backend`] of the [catalog](CATALOG) as a real service, through a provider in each
//! [`Form`]: inside the host, as a process beside it, and on another host.
//!
//! Where what matters is seen from outside, such as HTTP requests that come in or the log of a host,
//! the cases are [`Driven`] instead: they drive a component that does what it is told.

mod catalog;
mod driven;
mod fault;
mod ground;
mod outage;
mod published;
mod report;
mod suite;
mod witness;

pub use catalog::{Backend, CATALOG, Capability, Place, and, aws, azure, find};
pub use driven::Driven;
pub use fault::Fault;
pub use ground::{Form, Ground};
pub use published::as_published;
pub use report::{Outcome, Report, Row};
pub use suite::{Case, Verdict};
pub use witness::{Seen, Witness};

use anyhow::{Context as _, Result};
use fault::Strike;
use suite::Suite;

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The suite.
    pub capability: &'a Capability,
    /// What stands behind its interface.
    pub backend: &'a Backend,
    /// Where the provider runs.
    pub form: Form,
    /// What befalls the backend.
    pub fault: Fault,
    /// Only cases whose names contain this.
    pub filter: &'a str,
}

impl Run<'_> {
    /// Runs the cases, or under [`Fault::Killed`] the statements about outages.
    ///
    /// # Errors
    ///
    /// Fails when the ground cannot be laid: a service, host, provider or link does not come up.
    pub async fn carry_out(&self) -> Result<Outcome> {
        let run = async {
            let mut ground = Ground::lay(self).await?;
            let mut strike = Strike::new(&mut ground, self.backend, self.form);
            if !self.capability.driven.is_empty() {
                return Ok(driven::run(&mut strike, self.capability.driven, self.filter).await);
            }
            if self.fault == Fault::Killed {
                return outage::run(&mut strike, self.filter).await;
            }
            // Some cases look at what others of the component were told.
            let _witness = Witness::of(&ground.lattice, &ground.peer, ground::COMPONENT).await?;
            self.cases(&Suite::of(&ground)).await
        };
        run.await.with_context(|| {
            let (capability, backend) = (self.capability.name, self.backend.name);
            let (form, fault) = (self.form.name(), self.fault.name());
            format!("{capability} over {backend} ({form}, fault {fault})")
        })
    }

    async fn cases(&self, suite: &Suite) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let cases = suite.cases().await?;
        for name in cases.into_iter().filter(|name| name.contains(self.filter)) {
            let verdict = suite.run(&name).await;
            outcome.cases.push(Case { name, verdict });
        }
        Ok(outcome)
    }
}
