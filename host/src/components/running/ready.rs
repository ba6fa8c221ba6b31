//! Code that is ready to answer, with all that it comes with.

use std::sync::Arc;

use lattice_core::ComponentId;
use lattice_runtime::Reuse;
use lattice_store::ConfigBundle;

use super::Running;
use super::plan::Plan;
use crate::components::ComponentDeps;
use crate::components::code::{Code, Fetched};
use crate::components::env::ComponentEnv;
use crate::components::error::ScaleError;
use crate::components::invoke::ComponentInvoke;
use crate::components::limits::Limits;
use crate::components::reuse;
use crate::configs::{self, OpenConfigsError};
use crate::trust::secrets::{Entity, SecretBundle};

/// Code that is ready to answer. Nothing of it counts before it is switched to.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) code: Arc<Code>,
    pub(super) env: Arc<ComponentEnv>,
    pub(super) invoke: Arc<ComponentInvoke>,
    /// The configs; `None` where they are those of the code before.
    pub(super) config: Option<ConfigBundle>,
    pub(super) secrets: SecretBundle,
    pub(super) limits: Limits,
    pub(super) reuse: Option<Reuse>,
}

impl Ready {
    /// Reads the configs and secrets of a plan and compiles its code: for surroundings of its own, or
    /// for those of the code whose place it takes.
    pub(super) async fn new(
        deps: &ComponentDeps,
        id: &ComponentId,
        fetched: Fetched,
        plan: &Plan,
        before: Option<&Running>,
    ) -> Result<Self, ScaleError> {
        let limits = Limits::parse(&plan.limits)?;
        let reuse = reuse::parse(&plan.annotations)?;
        // Other code may be signed by and for somebody else.
        let entity = fetched.entity(id, &plan.annotations);
        let current = before.map(|running| &*running.config);
        let (config, secrets) = named(deps, current, &plan.config, entity).await?;
        let (env, invoke) = match before {
            Some(running) => (Arc::clone(&running.env), Arc::clone(&running.invoke)),
            None => surroundings(deps, id, config.as_ref(), &secrets),
        };
        let options = limits.options(deps.max_execution_time, reuse);
        let code = fetched.prepare(&deps.runtime, options, invoke.clone(), env.clone());
        Ok(Self {
            code: Arc::new(code.await?),
            env,
            invoke,
            config,
            secrets,
            limits,
            reuse,
        })
    }
}

/// The configs of these names, unless they are those that there are, and the secrets for an entity.
async fn named(
    deps: &ComponentDeps,
    current: Option<&[String]>,
    names: &[String],
    entity: Entity,
) -> Result<(Option<ConfigBundle>, SecretBundle), OpenConfigsError> {
    if current == Some(names) {
        let same = configs::secrets_for(&deps.secrets, names, entity);
        return Ok((None, same.await?));
    }
    let named = configs::open(deps.store.configs(), &deps.secrets, names, entity).await?;
    Ok((Some(named.config), named.secrets))
}

/// What a component has around it, and what it calls through.
fn surroundings(
    deps: &ComponentDeps,
    id: &ComponentId,
    config: Option<&ConfigBundle>,
    secrets: &SecretBundle,
) -> (Arc<ComponentEnv>, Arc<ComponentInvoke>) {
    let env = ComponentEnv::new(
        id.clone(),
        deps.identity.id.as_str().into(),
        deps.router.clone(),
        config.map(ConfigBundle::merged).unwrap_or_default(),
        secrets,
    );
    let invoke = ComponentInvoke {
        source: id.clone(),
        router: deps.router.clone(),
        peer: deps.peer.clone(),
        failures: Arc::clone(&deps.failures),
        call_timeout: deps.call_timeout,
    };
    (Arc::new(env), Arc::new(invoke))
}
