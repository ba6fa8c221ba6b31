//! The switch to other code.
//!
//! It is made in one of two ways, since a subscription cannot be limited otherwise:
//!
//! - **In place**, where the limits stay. The subscriptions go on and answer with the other code from the
//!   next call, within the same room, with the same surroundings. Only functions that the other code lacks
//!   end. What then cannot be recorded is recorded later: it answers already.
//! - **By another start**, where they do not. How long calls may take is said when a function is
//!   subscribed, and room and surroundings are those of calls that were taken in under the limits before.
//!   So all of it is made once more beside the old, as for a component that did not run: recorded before
//!   it serves, or it does not start. For a moment calls come to either, so that nobody is told before
//!   the old one is known to get none.

use std::sync::Arc;

use super::plan::Plan;
use super::ready::Ready;
use super::{Running, drain_all, expiry, instances};
use crate::components::ComponentDeps;
use crate::components::code::Fetched;
use crate::components::drains::End;
use crate::components::error::ScaleError;
use crate::components::serve::Served;

/// What answered and does not any more; calls may be under way in it.
#[derive(Debug)]
pub(crate) enum Left {
    /// The functions that the other code does not have.
    Functions(Vec<Served>),
    /// Everything, as it stood.
    All(Box<Running>),
}

impl Left {
    /// Leaves the queue groups without waiting, and takes nothing new.
    pub(crate) fn leave(&self) {
        match self {
            Self::Functions(functions) => functions.iter().for_each(Served::leave),
            Self::All(running) => running.leave(),
        }
    }

    /// Leaves the queue groups and lets calls under way end by themselves until `end`.
    pub(crate) async fn drain(self, end: End) {
        match self {
            Self::Functions(functions) => drain_all(functions, end).await,
            Self::All(running) => running.drain(end).await,
        }
    }
}

impl Running {
    /// Has other code answer, as planned, and returns what it leaves behind. Until that is ready nothing
    /// changes, and calls under way end on the code they began with. When it fails, all is as it was.
    pub(crate) async fn change(
        &mut self,
        deps: &ComponentDeps,
        fetched: Fetched,
        plan: &Plan,
    ) -> Result<Left, ScaleError> {
        let id = &self.server.serving.id;
        if plan.limits != self.limits {
            let next = Self::start(deps, id, fetched, plan).await?;
            return Ok(Left::All(Box::new(std::mem::replace(self, next))));
        }
        let ready = Ready::new(deps, id, fetched, plan, Some(&*self)).await?;
        let removed = self.server.switch(&mut self.served, &ready.code).await?;
        self.take_over(deps, ready, plan);
        Ok(Left::Functions(removed))
    }

    /// Takes over what comes with code that answers in place of the one before.
    fn take_over(&mut self, deps: &ComponentDeps, ready: Ready, plan: &Plan) {
        self._expiry = expiry(deps, &self.server.serving.id, &ready.code);
        if let Some(bundle) = ready.config {
            self.set_config(bundle, &plan.config);
        }
        self.set_secrets(ready.secrets);
        self.server.limiter.resize(instances(plan.count));
        self.max_instances = plan.count;
        self.code = Arc::clone(&ready.code);
        self.reuse = ready.reuse;
        if plan.annotates {
            self.annotate(deps, plan.annotations.clone());
        }
    }
}
