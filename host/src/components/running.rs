//! A running component: its code, its exports and what may change while it runs.

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
use super::entry::Wanted;
use super::env::ComponentEnv;
use super::error::ScaleError;
use super::invoke::ComponentInvoke;
use super::leave::Planned;
use super::limits::Limits;
use super::others::Beside;
use super::record::Record;
use super::reuse;
use super::serve::{Served, ServedExports, Server, Serving};
use super::{ComponentDeps, ComponentStatus};
use crate::configs;
use crate::trust::expiry;
use crate::trust::secrets::{Entity, SecretBundle};

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
    _config_task: AbortOnDropHandle<()>,
    /// Kept so that they are followed.
    _secrets: SecretBundle,
    max_instances: u32,
    annotations: StringMap,
    reuse: Option<Reuse>,
    limits: StringMap,
    parsed_limits: Limits,
    /// Writes what could not be recorded when the code began to run.
    _recording: Option<AbortOnDropHandle<()>>,
    /// Tells when the token of the code expires.
    _expiry: Option<AbortOnDropHandle<()>>,
}

impl Running {
    /// Prepares the code and begins to serve its exports.
    pub(crate) async fn start(
        deps: &Arc<ComponentDeps>,
        id: &ComponentId,
        fetched: Fetched,
        wanted: &Wanted,
    ) -> Result<Self, ScaleError> {
        let limits = Limits::parse(&wanted.limits)?;
        let reuse = reuse::parse(&wanted.annotations)?;
        let entity = fetched.entity(id, &wanted.annotations);
        let named =
            configs::open(deps.store.configs(), &deps.secrets, &wanted.config, entity).await?;
        let env = ComponentEnv::new(
            id.clone(),
            deps.identity.id.as_str().into(),
            deps.router.clone(),
            named.config.merged(),
            &named.secrets,
        );
        let env = Arc::new(env);
        let invoke = Arc::new(ComponentInvoke {
            source: id.clone(),
            router: deps.router.clone(),
            peer: deps.peer.clone(),
            failures: Arc::clone(&deps.failures),
            call_timeout: deps.call_timeout,
        });
        let options = limits.options(deps.max_execution_time, reuse);
        let code = fetched
            .prepare(&deps.runtime, options, invoke.clone(), env.clone())
            .await?;
        let code = Arc::new(code);
        // Before it is called: what cannot be recorded does not start.
        record(id, &code).write(&deps.store).await?;
        let server = server(deps, id, limits, wanted);
        let mut served = ServedExports::new();
        server.switch(&mut served, &code).await?;
        Ok(Self {
            _expiry: expiry(deps, id, &code),
            code,
            relief: server.relieve().await?,
            _config_task: follow(named.config, Arc::clone(&env)),
            _secrets: named.secrets,
            env,
            invoke,
            server,
            served,
            config: wanted.config.clone(),
            max_instances: wanted.count,
            annotations: wanted.annotations.clone(),
            reuse,
            limits: wanted.limits.clone(),
            parsed_limits: limits,
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

    /// How it runs, as the policy service is told.
    pub(crate) fn planned(&self) -> Planned<'_> {
        Planned {
            image: &self.code.image,
            count: self.max_instances,
            annotations: &self.annotations,
            claims: self.code.claims.as_ref(),
        }
    }

    /// Whether a command asks for other limits. One that names none leaves them alone.
    pub(crate) fn is_limited_otherwise(&self, limits: &StringMap) -> bool {
        !limits.is_empty() && *limits != self.limits
    }

    /// What a command makes of the annotations.
    pub(crate) fn annotated(&self, wanted: &StringMap) -> StringMap {
        reuse::merged(wanted, &self.annotations)
    }

    /// Takes over a new maximum, other configs and annotations. A command that changes nothing
    /// leaves the annotations alone, too.
    pub(crate) async fn scale(
        &mut self,
        deps: &ComponentDeps,
        wanted: &Wanted,
    ) -> Result<(), ScaleError> {
        let annotations = self.annotated(&wanted.annotations);
        let reuse = reuse::parse(&annotations)?;
        let same_config = wanted.config == self.config;
        if same_config && wanted.count == self.max_instances && reuse == self.reuse {
            return Ok(());
        }
        if !same_config {
            let entity = self.code.entity(&self.server.serving.id, &annotations);
            let named =
                configs::open(deps.store.configs(), &deps.secrets, &wanted.config, entity).await?;
            self.set_config(named.config, &wanted.config);
            self.set_secrets(named.secrets);
        }
        self.server.limiter.resize(instances(wanted.count));
        self.max_instances = wanted.count;
        self.annotate(deps, annotations);
        self.reuse = reuse;
        self.code.component.set_reuse(reuse);
        Ok(())
    }

    /// Puts other code in the place of the running one, with another maximum and other configs if it is
    /// scaled as well. Until that is ready nothing changes, and calls under way end on the code they
    /// began with.
    pub(crate) async fn replace(
        &mut self,
        deps: &ComponentDeps,
        fetched: Fetched,
        annotations: &StringMap,
        scaled: Option<&Wanted>,
    ) -> Result<Vec<Served>, ScaleError> {
        let annotated = self.annotated(annotations);
        let reuse = reuse::parse(&annotated)?;
        // The other code may be signed by and for somebody else.
        let entity = fetched.entity(&self.server.serving.id, &annotated);
        let names = scaled.map_or(&self.config, |wanted| &wanted.config).clone();
        let (config, secrets) = others(deps, &self.config, &names, entity).await?;
        let options = self.parsed_limits.options(deps.max_execution_time, reuse);
        let (invoke, env) = (self.invoke.clone(), self.env.clone());
        let code = Arc::new(fetched.prepare(&deps.runtime, options, invoke, env).await?);
        let removed = self.server.switch(&mut self.served, &code).await?;
        self._expiry = expiry(deps, &self.server.serving.id, &code);
        let count = scaled.map_or(self.max_instances, |wanted| wanted.count);
        let is_scaled = config.is_some() || count != self.max_instances;
        if let Some(bundle) = config {
            self.set_config(bundle, &names);
        }
        self.set_secrets(secrets);
        self.server.limiter.resize(instances(count));
        self.max_instances = count;
        self.code = code;
        self.reuse = reuse;
        if is_scaled || !annotations.is_empty() {
            self.annotate(deps, annotated);
        }
        Ok(removed)
    }

    fn set_config(&mut self, bundle: ConfigBundle, names: &[String]) {
        self.env.set_config(bundle.merged());
        self._config_task = follow(bundle, Arc::clone(&self.env));
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

fn server(deps: &ComponentDeps, id: &ComponentId, limits: Limits, wanted: &Wanted) -> Server {
    let queue = deps.queue;
    let limiter = Limiter::new(instances(wanted.count), queue.max_queued, queue.max_wait);
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
            annotations: RwLock::new(wanted.annotations.clone()),
            longest: limits.longest(deps.max_execution_time),
        }),
    }
}

/// The configs of these names, unless they are those that there are, and the secrets for an entity.
async fn others(
    deps: &ComponentDeps,
    current: &[String],
    names: &[String],
    entity: Entity,
) -> Result<(Option<ConfigBundle>, SecretBundle), ScaleError> {
    if names == current {
        let same = configs::secrets_for(&deps.secrets, names, entity);
        return Ok((None, same.await?));
    }
    let named = configs::open(deps.store.configs(), &deps.secrets, names, entity).await?;
    Ok((Some(named.config), named.secrets))
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
