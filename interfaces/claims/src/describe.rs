//! Claims as records of the lattice store and as parts of events.

use lattice_core::event::{ComponentClaimsInfo, ProviderClaimsInfo, claim_time};
use lattice_core::record::{StoredClaims, StoredComponentClaims, StoredProviderClaims};

use crate::claims::{ComponentClaims, ProviderClaims};

/// The record of a component's claims.
#[must_use]
pub fn stored_component(claims: &ComponentClaims) -> StoredClaims {
    let metadata = claims.metadata.clone().unwrap_or_default();
    StoredClaims::Component(StoredComponentClaims {
        call_alias: metadata.call_alias.unwrap_or_default(),
        issuer: claims.issuer.clone(),
        name: metadata.name.unwrap_or_default(),
        revision: metadata.revision.unwrap_or_default().to_string(),
        subject: claims.subject.clone(),
        tags: metadata.tags.unwrap_or_default(),
        version: metadata.version.unwrap_or_default(),
        expires: claims.expires,
    })
}

/// The record of a provider's claims.
#[must_use]
pub fn stored_provider(claims: &ProviderClaims) -> StoredClaims {
    let metadata = claims.metadata.clone().unwrap_or_default();
    StoredClaims::Provider(StoredProviderClaims {
        issuer: claims.issuer.clone(),
        name: metadata.name.unwrap_or_default(),
        revision: metadata.revision.unwrap_or_default().to_string(),
        subject: claims.subject.clone(),
        version: metadata.version.unwrap_or_default(),
        config_schema: metadata.config_schema.map(|schema| schema.to_string()),
        expires: claims.expires,
    })
}

/// The revision as events show it. A token may hold one below 0, which orchestrators cannot read.
fn told_revision(revision: Option<i32>) -> Option<i32> {
    revision.filter(|revision| *revision >= 0)
}

/// A component's claims as `component_scaled` shows them. Orchestrators take a name for granted, so that it
/// is an empty text where the claims say none.
#[must_use]
pub fn component_info(claims: &ComponentClaims) -> ComponentClaimsInfo {
    let metadata = claims.metadata.clone().unwrap_or_default();
    ComponentClaimsInfo {
        call_alias: metadata.call_alias,
        issuer: claims.issuer.clone(),
        tags: metadata.tags,
        name: metadata.name.unwrap_or_default(),
        version: metadata.version,
        revision: told_revision(metadata.revision),
        not_before_human: claim_time(claims.not_before),
        expires_human: claim_time(claims.expires),
    }
}

/// A provider's claims as `provider_started` shows them. Orchestrators take texts for granted, so what the
/// claims do not say is an empty one.
#[must_use]
pub fn provider_info(claims: &ProviderClaims) -> ProviderClaimsInfo {
    let metadata = claims.metadata.clone().unwrap_or_default();
    ProviderClaimsInfo {
        issuer: claims.issuer.clone(),
        tags: None,
        name: metadata.name.unwrap_or_default(),
        version: metadata.version.unwrap_or_default(),
        revision: told_revision(metadata.revision),
        not_before_human: claim_time(claims.not_before),
        expires_human: claim_time(claims.expires),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::{Claims, ComponentMetadata, ProviderMetadata};

    #[test]
    fn absent_claims_become_empty_texts_in_records() {
        let claims = Claims::new("M1".into(), ComponentMetadata::default(), 1);
        let StoredClaims::Component(stored) = stored_component(&claims) else {
            panic!()
        };
        assert_eq!(
            (stored.subject.as_str(), stored.revision.as_str()),
            ("M1", "0")
        );
        assert_eq!(component_info(&claims).expires_human, "never");
    }

    #[test]
    fn orchestrators_can_read_what_component_claims_do_not_say() {
        let metadata = ComponentMetadata {
            revision: Some(-1),
            ..ComponentMetadata::default()
        };
        let mut claims = Claims::new("M1".into(), metadata, 1);
        let told = serde_json::to_value(component_info(&claims)).unwrap();
        assert_eq!((&told["name"], &told["issuer"]), (&"".into(), &"".into()));
        assert!(told["revision"].is_null(), "{told}");
        let metadata = claims.metadata.as_mut().unwrap();
        (metadata.name, metadata.revision) = (Some("cart".into()), Some(0));
        let info = component_info(&claims);
        assert_eq!((&*info.name, info.revision), ("cart", Some(0)));
    }

    #[test]
    fn what_provider_claims_do_not_say_is_an_empty_text() {
        let mut claims = Claims::new("V1".into(), ProviderMetadata::default(), 1);
        claims.metadata.as_mut().unwrap().revision = Some(7);
        let bare = provider_info(&claims);
        assert_eq!(
            (&*bare.name, &*bare.version, bare.revision),
            ("", "", Some(7))
        );
        let metadata = claims.metadata.as_mut().unwrap();
        metadata.revision = Some(-7);
        assert_eq!(provider_info(&claims).revision, None);
        let metadata = claims.metadata.as_mut().unwrap();
        (metadata.name, metadata.version) = (Some("kv".into()), Some("1".into()));
        metadata.config_schema = Some(serde_json::json!({"a": 1}));
        claims.expires = Some(9);
        let info = provider_info(&claims);
        assert_eq!(
            (info.name.as_str(), info.expires_human.as_str()),
            ("kv", "9")
        );
        let StoredClaims::Provider(stored) = stored_provider(&claims) else {
            panic!()
        };
        assert_eq!(stored.config_schema.as_deref(), Some(r#"{"a":1}"#));
    }
}
