//! How a component is to run, said in full.

use lattice_claims::VerifiedComponent;
use lattice_core::{ImageRef, InvalidId, StringMap};

use super::Running;
use crate::components::entry::Wanted;
use crate::components::permission::Planned;
use crate::components::reuse;

/// How a component is to run, with all that its command leaves as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) image: ImageRef,
    pub(crate) count: u32,
    pub(crate) annotations: StringMap,
    /// Whether these annotations are taken over. A command that says nothing of them, and changes
    /// nothing but the code, leaves those alone that there are.
    pub(crate) annotates: bool,
    pub(crate) limits: StringMap,
    pub(crate) config: Vec<String>,
}

impl Plan {
    /// That of a command which starts a component.
    pub(crate) fn to_start(wanted: &Wanted) -> Result<Self, InvalidId> {
        Ok(Self {
            image: ImageRef::new(&wanted.image)?,
            count: wanted.count,
            annotations: wanted.annotations.clone(),
            annotates: true,
            limits: wanted.limits.clone(),
            config: wanted.config.clone(),
        })
    }

    /// What the policy service is told of it, with the claims of its code.
    pub(crate) fn planned<'a>(&'a self, claims: Option<&'a VerifiedComponent>) -> Planned<'a> {
        Planned {
            image: &self.image,
            count: self.count,
            annotations: &self.annotations,
            claims,
        }
    }
}

impl Running {
    /// How it runs after a command to scale it. Another image counts where that is allowed; limits
    /// that are not named stay.
    pub(crate) fn scaled(&self, wanted: &Wanted) -> Result<Plan, InvalidId> {
        let image = match wanted.allow_update {
            true => ImageRef::new(&wanted.image)?,
            false => self.image().clone(),
        };
        let limits = match wanted.limits.is_empty() {
            true => &self.limits,
            false => &wanted.limits,
        };
        let is_as_before = wanted.count == self.max_instances
            && wanted.config == self.config
            && *limits == self.limits;
        Ok(Plan {
            image,
            count: wanted.count,
            annotations: self.annotated(&wanted.annotations),
            annotates: !is_as_before || !wanted.annotations.is_empty(),
            limits: limits.clone(),
            config: wanted.config.clone(),
        })
    }

    /// How it runs after an update.
    pub(crate) fn updated(&self, image: &ImageRef, annotations: &StringMap) -> Plan {
        Plan {
            image: image.clone(),
            count: self.max_instances,
            annotations: self.annotated(annotations),
            annotates: !annotations.is_empty(),
            limits: self.limits.clone(),
            config: self.config.clone(),
        }
    }

    /// Whether the code that runs can run so, which has its limits built in.
    pub(crate) fn has_code_for(&self, plan: &Plan) -> bool {
        *self.image() == plan.image && self.limits == plan.limits
    }

    /// What a command makes of the annotations.
    fn annotated(&self, wanted: &StringMap) -> StringMap {
        reuse::merged(wanted, &self.annotations)
    }
}
