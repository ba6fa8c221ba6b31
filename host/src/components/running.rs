//! A running component: its code, its exports and what may change while it runs.

mod change;
mod plan;
mod ready;

use std::sync::Arc;

use futures::future::join_all;
use lattice_claims::stored_component;
use lattice_core::event::ClaimsExpired;
use lattice_core::host::ComponentDescription;
use lattice_core::reference::canonical;
use lattice_core::subject::RpcPrefix;
use lattice_core::{ComponentId, ImageRef, StringMap};
use lattice_rpc::{Limiter, Relief, Watching};
use lattice_runtime::Reuse;
use lattice_store::ConfigBundle;
use parking_lot::RwLock;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::code::{Code, Fetched};
use super::drains::End;
use super::env::ComponentEnv;
use super::error::ScaleError;
use super::invoke::ComponentInvoke;
use super::limits::Limits;
use super::others::Beside;
use super::record::Record;
use super::reuse;
use super::serve::{Served, ServedExports, Server, Serving};
use super::{ComponentDeps, ComponentStatus};
use crate::configs;
use crate::trust::expiry;
use crate::trust::secrets::SecretBundle;
pub(crate) use change::Left;
pub(crate) use plan::Plan;
use ready::Ready;

/// A component that answers calls.
#[derive(Debug)]
pub(crate) struct Running {
    code: Arc<Code>,
    env: Arc<ComponentEnv>,
    invoke: Arc<ComponentInvoke>,
    server: Server,
    relief: Watching,
    /// Empty for a component without exports, which then just waits for its end.
    served: ServedExports,
    config: Vec<String>,
    /// Shows the component each change of its configs.
    _config_task: Option<AbortOnDropHandle<()>>,
    /// Kept so that they are followed.
    _secrets: SecretBundle,
    max_instances: u32,
    annotations: StringMap,
    reuse: Option<Reuse>,
    limits: StringMap,
    /// Writes what could not be recorded when the code began to run.
    _recording: Option<AbortOnDropHandle<()>>,
    /// Tells when the token of the code expires.
    _expiry: Option<AbortOnDropHandle<()>>,
}

impl Running {
    /// Prepares the code and begins to serve its exports.
    pub(crate) async fn start(
        deps: &ComponentDeps,
        id: &ComponentId,
        fetched: Fetched,
        plan: &Plan,
    ) -> Result<Self, ScaleError> {
        let ready = Ready::new(deps, id, fetched, plan, None).await?;
        // Before it is called: what cannot be recorded does not start.
        record(id, &ready.code).write(&deps.store).await?;
        let server = server(deps, id, ready.limits, plan);
        let mut served = ServedExports::new();
        server.switch(&mut served, &ready.code).await?;
        let env = ready.env;
        Ok(Self {
            _expiry: expiry(deps, id, &ready.code),
            relief: server.relieve().await?,
            _config_task: ready.config.map(|bundle| follow(bundle, Arc::clone(&env))),
            _secrets: ready.secrets,
            code: ready.code,
            env,
            invoke: ready.invoke,
            server,
            served,
            config: plan.config.clone(),
            max_instances: plan.count,
            annotations: plan.annotations.clone(),
            reuse: ready.reuse,
            limits: plan.limits.clone(),
            _recording: None,
        })
    }

    /// Records the code that runs already: what cannot be written now is written when the store
    /// takes it, as long as this code runs.
    pub(crate) async fn record_or_later(&mut self, deps: &ComponentDeps) {
        self._recording = None;
        let record = record(&self.server.serving.id, &self.code);
        if let Err(error) = record.write(&deps.store).await {
            tracing::warn!(
                component = record.id.as_str(),
                image = record.image.as_str(),
                %error,
                "could not record a component that runs, going on to try"
            );
            self._recording = Some(record.write_later(deps.store.clone()));
        }
    }

    pub(crate) fn image(&self) -> &ImageRef {
        &self.code.image
    }

    pub(crate) fn code(&self) -> &Code {
        &self.code
    }

    pub(crate) fn max_instances(&self) -> u32 {
        self.max_instances
    }

    pub(crate) fn annotations(&self) -> &StringMap {
        &self.annotations
    }

    /// Takes over a new maximum, other configs and annotations. A command that changes nothing
    /// leaves the annotations alone, too.
    pub(crate) async fn scale(
        &mut self,
        deps: &ComponentDeps,
        plan: &Plan,
    ) -> Result<(), ScaleError> {
        let reuse = reuse::parse(&plan.annotations)?;
        let same_config = plan.config == self.config;
        if same_config && plan.count == self.max_instances && reuse == self.reuse {
            return Ok(());
        }
        if !same_config {
            let entity = self.code.entity(&self.server.serving.id, &plan.annotations);
            let named =
                configs::open(deps.store.configs(), &deps.secrets, &plan.config, entity).await?;
            self.set_config(named.config, &plan.config);
            self.set_secrets(named.secrets);
        }
        self.server.limiter.resize(instances(plan.count));
        self.max_instances = plan.count;
        self.annotate(deps, plan.annotations.clone());
        self.reuse = reuse;
        self.code.component.set_reuse(reuse);
        Ok(())
    }

    fn set_config(&mut self, bundle: ConfigBundle, names: &[String]) {
        self.env.set_config(bundle.merged());
        self._config_task = Some(follow(bundle, Arc::clone(&self.env)));
        self.config = names.to_vec();
    }

    fn set_secrets(&mut self, secrets: SecretBundle) {
        self.env.set_secrets(&secrets);
        self._secrets = secrets;
    }

    /// Takes over annotations, for which what was said about calls no longer counts.
    fn annotate(&mut self, deps: &ComponentDeps, annotations: StringMap) {
        if annotations == self.annotations {
            return;
        }
        self.server
            .serving
            .annotations
            .write()
            .clone_from(&annotations);
        self.annotations = annotations;
        if let Some(policy) = &deps.trust.policy {
            policy.forget_calls(self.server.serving.id.as_str());
        }
    }

    pub(crate) fn status(&self, id: &ComponentId) -> ComponentStatus {
        let limits = Some(self.limits.clone()).filter(|limits| !limits.is_empty());
        ComponentStatus {
            image: self.code.image.clone(),
            description: ComponentDescription {
                id: id.as_str().to_owned(),
                image_ref: self.code.image.as_str().to_owned(),
                name: self.code.name(),
                annotations: Some(self.annotations.clone()),
                revision: self.code.revision(),
                max_instances: self.max_instances,
                limits,
                version: self.code.version(),
                expires: self.code.expires(),
                config: self.config.clone(),
            },
        }
    }

    /// Leaves the queue groups, and takes nothing new but what calls under way on this host call. Room
    /// that was promised is given until `deadline`.
    pub(crate) async fn retire(&self, deadline: Instant) {
        self.relief.end(deadline).await;
        self.served.values().for_each(Served::retire);
    }

    /// Leaves the queue groups without waiting, and takes nothing new.
    pub(crate) fn leave(&self) {
        self.served.values().for_each(Served::leave);
    }

    /// Leaves the queue groups and lets calls under way end by themselves until `end`.
    pub(crate) async fn drain(self, end: End) {
        self.relief.end(end.deadline()).await;
        drain_all(self.served.into_values(), end).await;
    }
}

/// Waits until no call of components that were [retired](Running::retire) is under way.
pub(crate) async fn until_quiet(running: &[Running]) {
    let functions = running.iter().flat_map(|running| running.served.values());
    let functions: Vec<&Served> = functions.collect();
    // One that ends late may have called another where nothing was under way any more.
    while !functions.iter().all(|function| function.is_quiet()) {
        join_all(functions.iter().map(|function| function.quiet())).await;
    }
}

/// Ends serving these functions, all at the same time.
pub(crate) async fn drain_all(functions: impl IntoIterator<Item = Served>, end: End) {
    let functions = functions.into_iter();
    join_all(functions.map(|function| function.drain(end.clone()))).await;
}

/// What the lattice should know about code.
fn record(id: &ComponentId, code: &Code) -> Record {
    let claims = code.claims.as_ref();
    Record {
        id: id.clone(),
        image: code.image.clone(),
        claims: claims.map(|verified| stored_component(&verified.claims)),
    }
}

/// Watches for the end of the token of the code.
fn expiry(deps: &ComponentDeps, id: &ComponentId, code: &Code) -> Option<AbortOnDropHandle<()>> {
    let claims = &code.claims.as_ref()?.claims;
    let told = ClaimsExpired {
        host_id: deps.identity.id.as_str().to_owned(),
        id: id.as_str().to_owned(),
        image_ref: canonical(code.image.as_str()).into_owned(),
        public_key: claims.subject.clone(),
        issuer: claims.issuer.clone(),
        expired_at: claims.expires?,
    };
    expiry::watch(&deps.events, claims.expires, told)
}

fn server(deps: &ComponentDeps, id: &ComponentId, limits: Limits, plan: &Plan) -> Server {
    let queue = deps.queue;
    let limiter = Limiter::new(instances(plan.count), queue.max_queued, queue.max_wait);
    let limiter = match &deps.gate {
        Some(gate) => limiter.behind(gate, id.as_str()),
        None => limiter,
    };
    Server {
        peer: deps.peer.clone(),
        bus_errors: Arc::clone(&deps.bus_errors),
        prefix: RpcPrefix::new(deps.lattice(), id),
        limiter: Arc::new(limiter),
        relief: Relief::default(),
        others: Arc::new(Beside::new(Arc::clone(&deps.old_hosts), id.clone())),
        call_timeout: deps.call_timeout,
        serving: Arc::new(Serving {
            id: id.clone(),
            failures: Arc::clone(&deps.failures),
            trust: Arc::clone(&deps.trust),
            annotations: RwLock::new(plan.annotations.clone()),
            longest: limits.longest(deps.max_execution_time),
        }),
    }
}

fn instances(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Shows the component each change of its configs.
fn follow(mut bundle: ConfigBundle, env: Arc<ComponentEnv>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            let config = bundle.changed().await;
            env.set_config(config);
        }
    }))
}
