//! Leave to start a provider, which is asked for at its restarts as well.

use lattice_claims::ProviderClaims;
use lattice_core::event::ClaimsExpired;
use lattice_core::policy::{PolicyProvider, PolicySubject};
use tokio_util::task::AbortOnDropHandle;

use super::ProviderDeps;
use super::error::StartProviderError;
use super::slot::Slot;
use crate::artifact::ProviderProgram;
use crate::trust::expiry;
use crate::trust::policy::claims_of;

/// Whether the program may be started now: its token may have expired since it was unpacked, and
/// the policy service may have changed its mind.
pub(crate) async fn ask(
    deps: &ProviderDeps,
    slot: &Slot,
    program: &ProviderProgram,
) -> Result<(), StartProviderError> {
    let image = slot.image.as_str();
    let admitted = deps.trust.admit(image, &program.artifact());
    admitted.map_err(|source| StartProviderError::Refused {
        image: image.to_owned(),
        source,
    })?;
    let Some(policy) = &deps.trust.policy else {
        return Ok(());
    };
    let provider = PolicyProvider {
        provider_id: slot.id.as_str().to_owned(),
        image_ref: slot.canonical_image(),
        annotations: slot.annotations.clone(),
        claims: program.claims.as_ref().map(claims_of),
    };
    let asked = policy.start_of(PolicySubject::Provider(provider));
    asked.await.map_err(|source| StartProviderError::Policy {
        id: slot.id.clone(),
        source,
    })
}

/// Watches for the end of the token of a provider that runs.
pub(crate) fn expiry(
    deps: &ProviderDeps,
    slot: &Slot,
    claims: Option<&ProviderClaims>,
) -> Option<AbortOnDropHandle<()>> {
    let claims = claims?;
    let told = ClaimsExpired {
        host_id: deps.identity.id.as_str().to_owned(),
        id: slot.id.as_str().to_owned(),
        image_ref: slot.canonical_image(),
        public_key: claims.subject.clone(),
        issuer: claims.issuer.clone(),
        expired_at: claims.expires?,
    };
    expiry::watch(&deps.events, claims.expires, told)
}
