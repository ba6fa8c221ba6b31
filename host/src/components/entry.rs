//! One component id on this host: all work on it happens one after the other.

use std::time::Duration;

use lattice_control::types::ScaleComponentCommand;
use lattice_core::{ComponentId, ImageRef, StringMap};
use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::code::{Fetched, fetch};
use super::command_queue::{Command, CommandQueue};
use super::error::ScaleError;
use super::permission::{self, Planned};
use super::report;
use super::running::{Left, Plan, Running};
use super::step::Step;
use super::{ComponentDeps, ComponentStatus};

/// How long a stop waits for calls under way before it is reported; they may end later.
const REPORT_AFTER: Duration = Duration::from_secs(1);

/// How long NATS may take to confirm that code with calls under way gets no others.
const LEFT_WITHIN: Duration = Duration::from_secs(3);

/// How a component should run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The image, as it was named.
    pub(crate) image: String,
    pub(crate) count: u32,
    pub(crate) annotations: StringMap,
    pub(crate) limits: StringMap,
    pub(crate) config: Vec<String>,
    /// Whether another image replaces the running one.
    pub(crate) allow_update: bool,
}

impl From<ScaleComponentCommand> for Wanted {
    fn from(command: ScaleComponentCommand) -> Self {
        Self {
            image: command.component_ref,
            count: command.count,
            annotations: command.annotations,
            limits: command.component_limits,
            config: command.config,
            allow_update: command.allow_update,
        }
    }
}

/// The place of one component id.
#[derive(Debug)]
pub(crate) struct Entry {
    id: ComponentId,
    /// What is to be done. Locked within the lock of the table.
    pub(crate) commands: parking_lot::Mutex<CommandQueue>,
    /// Held for the whole of each piece of work, so that work on this id keeps its order and
    /// work on other ids is not held up.
    running: Mutex<Option<Running>>,
    /// What can be told without waiting for work under way.
    status: RwLock<Option<ComponentStatus>>,
}

impl Entry {
    pub(crate) fn new(id: ComponentId) -> Self {
        Self {
            id,
            commands: parking_lot::Mutex::default(),
            running: Mutex::default(),
            status: RwLock::default(),
        }
    }

    pub(crate) fn id(&self) -> &ComponentId {
        &self.id
    }

    pub(crate) fn status(&self) -> Option<ComponentStatus> {
        self.status.read().clone()
    }

    /// Does what is wished, and tells how the component runs then.
    pub(crate) async fn carry_out(
        &self,
        deps: &ComponentDeps,
        command: &Command,
    ) -> Result<(), ScaleError> {
        match command {
            Command::Scale(wanted) => self.scale(deps, wanted).await,
            Command::Update { image, annotations } => self.update(deps, image, annotations).await,
        }
    }

    /// Starts, scales or stops the component.
    async fn scale(&self, deps: &ComponentDeps, wanted: &Wanted) -> Result<(), ScaleError> {
        let mut place = self.running.lock().await;
        let Some(running) = place.as_mut() else {
            if wanted.count > 0 {
                let running = self.start(deps, &Plan::to_start(wanted)?).await?;
                self.publish_scaled(deps, &running, &wanted.image, wanted.count);
                *place = Some(running);
            } else {
                // Nothing is fetched for what does not run and should not.
                report::scaled_to_zero(deps, &self.id, wanted);
            }
            return Ok(());
        };
        if wanted.count > 0 {
            return self.rescale(deps, running, wanted).await;
        }
        let Some(running) = place.take() else {
            return Ok(());
        };
        *self.status.write() = None;
        self.finish(deps, running, &wanted.image).await;
        Ok(())
    }

    async fn start(&self, deps: &ComponentDeps, plan: &Plan) -> Result<Running, ScaleError> {
        let fetched = self.admit(deps, plan).await?;
        let start = Running::start(deps, &self.id, fetched, plan);
        Step::Prepare.run(start).await
    }

    /// Reads the image of a plan, and makes sure that it may run so: by what its claims say, and by leave
    /// of the policy service. No code is prepared that did not pass here.
    async fn admit(&self, deps: &ComponentDeps, plan: &Plan) -> Result<Fetched, ScaleError> {
        let fetched = Step::Fetch.run(fetch(deps, &plan.image)).await?;
        self.ask(deps, plan.planned(fetched.claims.as_ref()))
            .await?;
        Ok(fetched)
    }

    async fn ask(&self, deps: &ComponentDeps, planned: Planned<'_>) -> Result<(), ScaleError> {
        Step::Leave
            .run(permission::ask(deps, &self.id, planned))
            .await
    }

    /// Changes how the component runs, and the code where that is needed.
    async fn rescale(
        &self,
        deps: &ComponentDeps,
        running: &mut Running,
        wanted: &Wanted,
    ) -> Result<(), ScaleError> {
        let is_kept = !wanted.allow_update && *running.image() != *wanted.image;
        let plan = running.scaled(wanted)?;
        if running.has_code_for(&plan) {
            let claims = running.code().claims.as_ref();
            self.ask(deps, plan.planned(claims)).await?;
            Step::Configure.run(running.scale(deps, &plan)).await?;
            // Whoever waits looks for the reference of its command (protocol page, 2.2).
            self.publish_scaled(deps, running, &wanted.image, wanted.count);
        } else {
            self.change_code(deps, running, &plan, &wanted.image)
                .await?;
        }
        if is_kept {
            let (id, image, runs) = (self.id.as_str(), &wanted.image, running.image().as_str());
            tracing::warn!(
                id,
                image,
                runs,
                "scaled a component that runs another image"
            );
        }
        Ok(())
    }

    /// Replaces the image of the running component.
    async fn update(
        &self,
        deps: &ComponentDeps,
        image: &ImageRef,
        annotations: &StringMap,
    ) -> Result<(), ScaleError> {
        let mut place = self.running.lock().await;
        match place.as_mut() {
            Some(running) if running.image() != image => {
                let plan = running.updated(image, annotations);
                self.change_code(deps, running, &plan, image.as_str()).await
            }
            // Updated by someone else since the reply; whoever waits is told all the same.
            Some(running) => {
                let max = running.max_instances();
                self.publish_scaled(deps, running, image.as_str(), max);
                Ok(())
            }
            // Stopped since the reply, by a command that was ahead of this one.
            None => Err(ScaleError::Stopped),
        }
    }

    /// Has other code answer, as planned: another image, or the same one under other limits, with the
    /// maximum and the configs of the plan. Nothing of that counts before all of it does. Events name the
    /// image as the command did.
    async fn change_code(
        &self,
        deps: &ComponentDeps,
        running: &mut Running,
        plan: &Plan,
        image: &str,
    ) -> Result<(), ScaleError> {
        let is_other = *running.image() != plan.image;
        let fetched = self.admit(deps, plan).await?;
        let left = Step::Prepare
            .run(running.change(deps, fetched, plan))
            .await?;
        // From here on the other code answers, whatever else fails.
        *self.status.write() = Some(running.status(&self.id));
        // What was said about calls was said of the file as it was, which may be named alike.
        self.forget_calls(deps);
        left.leave();
        let is_all = matches!(left, Left::All(_));
        let drained = deps.drains.begin(deps.drain_timeout, |end| left.drain(end));
        if is_all {
            self.until_left(deps, drained).await;
        } else {
            running.record_or_later(deps).await;
        }
        self.publish_scaled(deps, running, image, running.max_instances());
        if is_other {
            // Old clients wait for the end of the old version under the new reference.
            report::scaled(deps, &self.id, running, image, 0);
        }
        Ok(())
    }

    /// Waits until code that has left its queue groups gets no more calls: nobody is to be told of its end
    /// before.
    async fn until_left(&self, deps: &ComponentDeps, drained: JoinHandle<()>) {
        if timeout(REPORT_AFTER, drained).await.is_err()
            && let Err(error) = deps.peer.confirm(LEFT_WITHIN).await
        {
            let id = self.id.as_str();
            tracing::debug!(id, %error, "old code may get calls for a moment longer");
        }
    }

    fn forget_calls(&self, deps: &ComponentDeps) {
        if let Some(policy) = &deps.trust.policy {
            policy.forget_calls(self.id.as_str());
        }
    }

    fn publish_scaled(&self, deps: &ComponentDeps, running: &Running, image: &str, count: u32) {
        *self.status.write() = Some(running.status(&self.id));
        report::scaled(deps, &self.id, running, image, count);
    }

    /// Stops a component that has left the table already.
    async fn finish(&self, deps: &ComponentDeps, running: Running, image: &str) {
        let event = report::scaled_event(deps, &self.id, &running, image, 0);
        self.forget_calls(deps);
        let mut drained = deps
            .drains
            .begin(deps.drain_timeout, |end| running.drain(end));
        // Idle components are gone at once; long calls end after the report.
        let _slow = timeout(REPORT_AFTER, &mut drained).await;
        deps.events.publish(event);
    }

    /// Takes out what runs, for it to be stopped with the host. Nobody is told; the host says goodbye
    /// for all.
    pub(crate) async fn take(&self) -> Option<Running> {
        let running = self.running.lock().await.take();
        *self.status.write() = None;
        running
    }
}
