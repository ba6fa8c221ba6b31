//! One version of a component: from an image to something that can be called.

use std::sync::Arc;

use bytes::Bytes;
use lattice_claims::{ComponentMetadata, VerifiedComponent, epoch_seconds, verify_component};
use lattice_core::{ComponentId, ImageRef, StringMap};
use lattice_runtime::{Component, ComponentOptions, HostEnv, Invoke, Runtime};

use super::ComponentDeps;
use super::error::ScaleError;
use crate::trust::Artifact;
use crate::trust::secrets::Entity;

/// A prepared version of a component.
#[derive(Debug)]
pub(crate) struct Code {
    /// Where it came from, exactly as the command named it.
    pub(crate) image: ImageRef,
    pub(crate) component: Component,
    /// What is proven of this very file.
    pub(crate) claims: Option<VerifiedComponent>,
}

impl Code {
    /// The name in the claims.
    pub(crate) fn name(&self) -> Option<String> {
        self.metadata()?.name.clone()
    }

    /// The revision in the claims, or 0.
    pub(crate) fn revision(&self) -> i32 {
        let metadata = self.metadata();
        metadata
            .and_then(|metadata| metadata.revision)
            .unwrap_or_default()
    }

    /// The version in the claims.
    pub(crate) fn version(&self) -> Option<String> {
        self.metadata()?.version.clone()
    }

    /// When the claims expire.
    pub(crate) fn expires(&self) -> Option<u64> {
        self.claims.as_ref()?.claims.expires
    }

    fn metadata(&self) -> Option<&ComponentMetadata> {
        self.claims.as_ref()?.claims.metadata.as_ref()
    }

    /// Who it is for those who give secrets.
    pub(crate) fn entity(&self, id: &ComponentId, annotations: &StringMap) -> Entity {
        entity(id, self.claims.as_ref(), annotations)
    }
}

fn entity(id: &ComponentId, claims: Option<&VerifiedComponent>, annotations: &StringMap) -> Entity {
    let token = claims.map(|verified| verified.token.as_str());
    Entity::new(id, token, annotations)
}

/// Bytes that passed the checks before anything is compiled.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) image: ImageRef,
    wasm: Bytes,
    /// What is proven of this very file.
    pub(crate) claims: Option<VerifiedComponent>,
}

impl Fetched {
    /// Who it is for those who give secrets.
    pub(crate) fn entity(&self, id: &ComponentId, annotations: &StringMap) -> Entity {
        entity(id, self.claims.as_ref(), annotations)
    }
}

/// Reads an image and checks its claims, and whether it may run here.
pub(crate) async fn fetch(deps: &ComponentDeps, image: &ImageRef) -> Result<Fetched, ScaleError> {
    let wasm = deps
        .images
        .component(image)
        .await
        .map_err(|source| ScaleError::Fetch {
            image: image.clone(),
            source,
        })?;
    let claims = verify(wasm.clone())
        .await
        .map_err(|source| ScaleError::Claims {
            image: image.clone(),
            source,
        })?;
    let verified = claims.as_ref().map(|verified| &verified.claims);
    let admitted = deps
        .trust
        .admit(image.as_str(), &Artifact::component(verified));
    admitted.map_err(|source| ScaleError::Refused {
        image: image.clone(),
        public_key: verified.map(|claims| claims.subject.clone()),
        source,
    })?;
    Ok(Fetched {
        image: image.clone(),
        wasm,
        claims: claims.filter(|verified| counts(image, verified)),
    })
}

/// Whether claims count for the file that they came in. Others could be those of any component:
/// policy and secrets would take foreign code for it.
fn counts(image: &ImageRef, verified: &VerifiedComponent) -> bool {
    let is_bound = verified.claims.is_bound();
    if !is_bound {
        tracing::warn!(
            image = image.as_str(),
            subject = verified.claims.subject,
            "the token of a component is of a format before revision 3, whose hash says nothing \
             about the file; it runs as one that is not signed"
        );
    }
    is_bound
}

const WASM_MAGIC: &[u8] = b"\0asm";

async fn verify(
    wasm: Bytes,
) -> Result<Option<VerifiedComponent>, lattice_claims::ComponentClaimsError> {
    // What is not wasm has no claims; the runtime says what it is instead.
    if !wasm.starts_with(WASM_MAGIC) {
        return Ok(None);
    }
    // Hashing a large file takes a while.
    let verified = tokio::task::spawn_blocking(move || verify_component(&wasm, epoch_seconds()));
    match verified.await {
        Ok(verified) => verified,
        // Only when the process ends.
        Err(_) => std::future::pending().await,
    }
}

impl Fetched {
    /// Compiles and links the bytes.
    pub(crate) async fn prepare(
        self,
        runtime: &Runtime,
        options: ComponentOptions,
        invoke: Arc<dyn Invoke>,
        env: Arc<dyn HostEnv>,
    ) -> Result<Code, ScaleError> {
        let Self {
            image,
            wasm,
            claims,
        } = self;
        match runtime.prepare(wasm, options, invoke, env).await {
            Ok(component) => Ok(Code {
                image,
                component,
                claims,
            }),
            Err(source) => Err(ScaleError::Prepare { image, source }),
        }
    }
}
