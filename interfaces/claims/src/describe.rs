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
        revision: metadata.revision,
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
    fn what_provider_claims_do_not_say_is_an_empty_text() {
        let mut claims = Claims::new("V1".into(), ProviderMetadata::default(), 1);
        claims.metadata.as_mut().unwrap().revision = Some(7);
        let bare = provider_info(&claims);
        assert_eq!(
            (&*bare.name, &*bare.version, bare.revision),
            ("", "", Some(7))
        );
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
