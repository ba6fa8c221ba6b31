//! What decisions are remembered by, and what services are told of claims.

use std::sync::Arc;

use lattice_claims::{Claims, epoch_seconds};
use lattice_core::ComponentId;
use lattice_core::policy::{PolicyClaims, PolicySubject};

/// What a decision about calls of one function is remembered by. Made once for each function that
/// is served, so that looking it up makes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallKey(Arc<str>);

impl CallKey {
    pub(crate) fn new(id: &ComponentId, image: &str, interface: &str, function: &str) -> Self {
        let calls = calls_of(id.as_str());
        Self(format!("{calls}{interface}\n{function}\n{image}").into())
    }

    pub(super) fn as_arc(&self) -> &Arc<str> {
        &self.0
    }
}

/// What the keys of all calls of a component begin with. Ids hold no line breaks.
pub(super) fn calls_of(component: &str) -> String {
    format!("call\n{component}\n")
}

/// All that a start is about: another number of instances is another question.
pub(super) fn start_key(subject: &PolicySubject) -> Arc<str> {
    let text = serde_json::to_string(subject);
    // Maps of texts always become JSON; were they not to, two starts would share a decision.
    format!("start\n{}", text.unwrap_or_default()).into()
}

/// What a service is told of claims.
pub(crate) fn claims_of<T>(claims: &Claims<T>) -> PolicyClaims {
    PolicyClaims {
        public_key: claims.subject.clone(),
        issuer: claims.issuer.clone(),
        issued_at: claims.issued_at.to_string(),
        expires_at: claims.expires,
        expired: claims.expires.is_some_and(|at| at < epoch_seconds()),
    }
}

#[cfg(test)]
mod tests {
    use lattice_claims::ComponentMetadata;
    use lattice_core::policy::PolicyComponent;

    use super::*;

    #[test]
    fn another_number_of_instances_is_another_question() {
        let key = |max_instances| {
            start_key(&PolicySubject::Component(PolicyComponent {
                component_id: "c".into(),
                max_instances,
                ..PolicyComponent::default()
            }))
        };
        assert_eq!(key(1), key(1));
        assert_ne!(key(1), key(2));
    }

    #[test]
    fn calls_are_told_apart_and_found_by_their_component() {
        let id = |text: &str| ComponentId::new(text).unwrap();
        let key = |name: &str, function| CallKey::new(&id(name), "i", "a:b/c", function);
        assert_ne!(key("cart", "get"), key("cart", "put"));
        assert!(key("cart", "get").0.starts_with(&calls_of("cart")));
        assert!(!key("cart2", "get").0.starts_with(&calls_of("cart")));
    }

    #[test]
    fn expired_claims_are_told_to_be() {
        let mut claims = Claims::new("M".into(), ComponentMetadata::default(), 5);
        assert!(!claims_of(&claims).expired);
        claims.expires = Some(6);
        let told = claims_of(&claims);
        assert_eq!((told.expired, told.expires_at), (true, Some(6)));
        assert_eq!(told.issued_at, "5");
    }
}
