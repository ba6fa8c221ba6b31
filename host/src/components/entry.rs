//! One component id on this host: all work on it happens one after the other.

use std::sync::Arc;
use std::time::Duration;

use lattice_control::types::ScaleComponentCommand;
use lattice_core::{ComponentId, ImageRef, StringMap};
use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::code::fetch;
use super::error::ScaleError;
use super::leave::{self, Planned};
use super::report;
use super::running::{Running, drain_all};
use super::step::Step;
use super::wishes::{Wish, Wishes};
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
    pub(crate) wishes: parking_lot::Mutex<Wishes>,
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
            wishes: parking_lot::Mutex::default(),
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
    pub(crate) async fn fulfil(
        &self,
        deps: &Arc<ComponentDeps>,
        wish: &Wish,
    ) -> Result<(), ScaleError> {
        match wish {
            Wish::Scale(wanted) => self.scale(deps, wanted).await,
            Wish::Update { image, annotations } => self.update(deps, image, annotations).await,
        }
    }

    /// Starts, scales or stops the component.
    async fn scale(&self, deps: &Arc<ComponentDeps>, wanted: &Wanted) -> Result<(), ScaleError> {
        let mut place = self.running.lock().await;
        let Some(running) = place.as_mut() else {
            if wanted.count > 0 {
                let running = self.start(deps, wanted).await?;
                self.publish_scaled(deps, &running, &wanted.image, wanted.count);
                *place = Some(running);
            } else {
                // Nothing is fetched for what does not run and should not.
                report::scaled_to_zero(deps, &self.id, wanted);
            }
            return Ok(());
        };
        if wanted.count == 0 {
            let Some(running) = place.take() else {
                return Ok(());
            };
            *self.status.write() = None;
            self.finish(deps, running, &wanted.image).await;
            return Ok(());
        }
        let is_other = *running.image() != *wanted.image;
        if wanted.allow_update && is_other {
            return self.scale_to_other(deps, running, wanted).await;
        }
        self.rescale(deps, running, wanted).await?;
        // Whoever waits looks for the reference of its command (protocol page, 2.2).
        self.publish_scaled(deps, running, &wanted.image, wanted.count);
        if is_other {
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

    /// Has another image run, as it is wanted.
    async fn scale_to_other(
        &self,
        deps: &Arc<ComponentDeps>,
        running: &mut Running,
        wanted: &Wanted,
    ) -> Result<(), ScaleError> {
        if running.is_limited_otherwise(&wanted.limits) {
            return self.start_other(deps, running, wanted).await;
        }
        let image = ImageRef::new(&wanted.image)?;
        let annotations = &wanted.annotations;
        self.replace(deps, running, &image, annotations, Some(wanted))
            .await
    }

    async fn start(
        &self,
        deps: &Arc<ComponentDeps>,
        wanted: &Wanted,
    ) -> Result<Running, ScaleError> {
        let image = ImageRef::new(&wanted.image)?;
        let fetched = Step::Fetch.run(fetch(deps, &image)).await?;
        let planned = Planned {
            image: &image,
            count: wanted.count,
            annotations: &wanted.annotations,
            claims: fetched.claims.as_ref(),
        };
        self.ask(deps, planned).await?;
        let start = Running::start(deps, &self.id, fetched, wanted);
        Step::Prepare.run(start).await
    }

    /// Changes how the running code runs; the image stays.
    async fn rescale(
        &self,
        deps: &Arc<ComponentDeps>,
        running: &mut Running,
        wanted: &Wanted,
    ) -> Result<(), ScaleError> {
        if running.is_limited_otherwise(&wanted.limits) {
            let image = running.image().as_str().to_owned();
            return self.start_anew(deps, running, wanted, image).await;
        }
        let planned = Planned {
            count: wanted.count,
            annotations: &running.annotated(&wanted.annotations),
            ..running.planned()
        };
        self.ask(deps, planned).await?;
        Step::Configure.run(running.scale(deps, wanted)).await
    }

    async fn ask(&self, deps: &ComponentDeps, planned: Planned<'_>) -> Result<(), ScaleError> {
        Step::Leave.run(leave::ask(deps, &self.id, planned)).await
    }

    /// Starts another image under other limits, in one go: the one that runs may be had no more.
    async fn start_other(
        &self,
        deps: &Arc<ComponentDeps>,
        running: &mut Running,
        wanted: &Wanted,
    ) -> Result<(), ScaleError> {
        let image = &wanted.image;
        self.start_anew(deps, running, wanted, image.clone())
            .await?;
        self.publish_scaled(deps, running, image, wanted.count);
        // Old clients wait for the end of the old version under the new reference.
        report::scaled(deps, &self.id, running, image, 0);
        Ok(())
    }

    /// Starts an image under other limits, which are part of the prepared code, so that there is a second
    /// one for a moment.
    async fn start_anew(
        &self,
        deps: &Arc<ComponentDeps>,
        running: &mut Running,
        wanted: &Wanted,
        image: String,
    ) -> Result<(), ScaleError> {
        let wanted = Wanted {
            image,
            annotations: running.annotated(&wanted.annotations),
            ..wanted.clone()
        };
        let next = self.start(deps, &wanted).await?;
        let old = std::mem::replace(running, next);
        // From here on the new code answers, whatever the old one still does.
        *self.status.write() = Some(running.status(&self.id));
        // What was said about calls was said of the file as it was.
        if let Some(policy) = &deps.trust.policy {
            policy.forget_calls(self.id.as_str());
        }
        old.leave();
        let mut drained = deps.drains.begin(deps.drain_timeout, |end| old.drain(end));
        // Nobody is to be told of the end of code that new calls still come to.
        if timeout(REPORT_AFTER, &mut drained).await.is_err()
            && let Err(error) = deps.peer.confirm(LEFT_WITHIN).await
        {
            let id = self.id.as_str();
            tracing::debug!(id, %error, "old code may get calls for a moment longer");
        }
        Ok(())
    }

    /// Replaces the image of the running component.
    async fn update(
        &self,
        deps: &Arc<ComponentDeps>,
        image: &ImageRef,
        annotations: &StringMap,
    ) -> Result<(), ScaleError> {
        let mut place = self.running.lock().await;
        match place.as_mut() {
            Some(running) if running.image() != image => {
                self.replace(deps, running, image, annotations, None).await
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

    /// Has other code answer, which may run with another maximum and other configs as well: then
    /// nothing of that counts before all of it does.
    async fn replace(
        &self,
        deps: &Arc<ComponentDeps>,
        running: &mut Running,
        image: &ImageRef,
        annotations: &StringMap,
        scaled: Option<&Wanted>,
    ) -> Result<(), ScaleError> {
        let fetched = Step::Fetch.run(fetch(deps, image)).await?;
        let max = running.max_instances();
        let planned = Planned {
            image,
            count: scaled.map_or(max, |wanted| wanted.count),
            annotations: &running.annotated(annotations),
            claims: fetched.claims.as_ref(),
        };
        self.ask(deps, planned).await?;
        let replace = running.replace(deps, fetched, annotations, scaled);
        let removed = Step::Prepare.run(replace).await?;
        // What was said about calls was said of the file as it was, which may be named alike.
        if let Some(policy) = &deps.trust.policy {
            policy.forget_calls(self.id.as_str());
        }
        // From here on the other code answers, whatever else fails.
        *self.status.write() = Some(running.status(&self.id));
        deps.drains
            .begin(deps.drain_timeout, |end| drain_all(removed, end));
        running.record_or_later(deps).await;
        let max = running.max_instances();
        self.publish_scaled(deps, running, image.as_str(), max);
        // Old clients wait for the end of the old version under the new reference.
        report::scaled(deps, &self.id, running, image.as_str(), 0);
        Ok(())
    }

    fn publish_scaled(&self, deps: &ComponentDeps, running: &Running, image: &str, count: u32) {
        *self.status.write() = Some(running.status(&self.id));
        report::scaled(deps, &self.id, running, image, count);
    }

    /// Stops a component that has left the table already.
    async fn finish(&self, deps: &ComponentDeps, running: Running, image: &str) {
        let event = report::scaled_event(deps, &self.id, &running, image, 0);
        if let Some(policy) = &deps.trust.policy {
            policy.forget_calls(self.id.as_str());
        }
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
