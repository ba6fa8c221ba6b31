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

/// A component's claims as `component_scaled` shows them.
#[must_use]
pub fn component_info(claims: &ComponentClaims) -> ComponentClaimsInfo {
    let metadata = claims.metadata.clone().unwrap_or_default();
    ComponentClaimsInfo {
        call_alias: metadata.call_alias,
        issuer: claims.issuer.clone(),
        tags: metadata.tags,
        name: metadata.name,
        version: metadata.version,
        revision: metadata.revision,
        not_before_human: claim_time(claims.not_before),
        expires_human: claim_time(claims.expires),
    }
}

/// A provider's claims as `provider_started` shows them; none when they lack a
/// name or a version, which orchestrators take for granted.
#[must_use]
pub fn provider_info(claims: &ProviderClaims) -> Option<ProviderClaimsInfo> {
    let metadata = claims.metadata.as_ref()?;
    Some(ProviderClaimsInfo {
        issuer: claims.issuer.clone(),
        tags: None,
        name: metadata.name.clone()?,
        version: metadata.version.clone()?,
        revision: metadata.revision,
        not_before_human: claim_time(claims.not_before),
        expires_human: claim_time(claims.expires),
    })
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
    fn provider_claims_without_name_or_version_are_not_shown() {
        let mut claims = Claims::new("V1".into(), ProviderMetadata::default(), 1);
        assert_eq!(provider_info(&claims), None);
        let metadata = claims.metadata.as_mut().unwrap();
        (metadata.name, metadata.version) = (Some("kv".into()), Some("1".into()));
        metadata.config_schema = Some(serde_json::json!({"a": 1}));
        claims.expires = Some(9);
        let info = provider_info(&claims).unwrap();
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
