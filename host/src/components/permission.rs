//! Leave of the policy service to run a component.

use lattice_claims::VerifiedComponent;
use lattice_core::policy::{PolicyComponent, PolicySubject};
use lattice_core::reference::canonical;
use lattice_core::{ComponentId, ImageRef, StringMap};

use super::ComponentDeps;
use super::error::ScaleError;
use crate::trust::policy::claims_of;

/// What is about to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned<'a> {
    pub(crate) image: &'a ImageRef,
    pub(crate) count: u32,
    pub(crate) annotations: &'a StringMap,
    pub(crate) claims: Option<&'a VerifiedComponent>,
}

/// Asks whether a component may run so. To stop one needs no leave.
pub(crate) async fn ask(
    deps: &ComponentDeps,
    id: &ComponentId,
    planned: Planned<'_>,
) -> Result<(), ScaleError> {
    let Some(policy) = &deps.trust.policy else {
        return Ok(());
    };
    let component = PolicyComponent {
        component_id: id.as_str().to_owned(),
        image_ref: canonical(planned.image.as_str()).into_owned(),
        max_instances: planned.count,
        annotations: planned.annotations.clone(),
        claims: planned.claims.map(|verified| claims_of(&verified.claims)),
    };
    let asked = policy.start_of(PolicySubject::Component(component));
    asked.await.map_err(|source| ScaleError::Policy {
        id: id.clone(),
        source,
    })
}
