//! `wasmcloud:secrets@0.1.0-draft`: handles to secrets, and the one place that reveals them.

use bytes::Bytes;
use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource, ResourceType};

use super::blobstore::{Budget, Held};
use crate::store::Ctx;
use crate::{SecretError, SecretText};

/// `secret`: a handle that keeps its value out of the guest until it is revealed.
struct Secret {
    text: SecretText,
    /// Each handle has a copy of its own.
    _held: Held,
}

impl Secret {
    fn keep(text: SecretText, budget: &Budget) -> Result<Self, Error> {
        let bytes = match &text {
            SecretText::String(text) => text.len(),
            SecretText::Bytes(bytes) => bytes.len(),
        };
        let held = budget.hold(bytes).map_err(Error::Io)?;
        Ok(Self { text, _held: held })
    }
}

/// `secret-value`.
#[derive(Clone, ComponentType, Lift, Lower)]
#[component(variant)]
enum Value {
    #[component(name = "string")]
    String(String),
    #[component(name = "bytes")]
    Bytes(Bytes),
}

/// `secrets-error`.
#[derive(Debug, Clone, ComponentType, Lift, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "upstream")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
    #[component(name = "not-found")]
    NotFound,
}

impl From<SecretError> for Error {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::NotFound => Self::NotFound,
            SecretError::Upstream(text) => Self::Upstream(text),
            SecretError::Io(text) => Self::Io(text),
        }
    }
}

pub(super) fn link(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    let mut store_instance = linker.instance("wasmcloud:secrets/store@0.1.0-draft")?;
    store_instance.resource(
        "secret",
        ResourceType::host::<Secret>(),
        |mut store, rep| {
            store
                .data_mut()
                .table
                .delete(Resource::<Secret>::new_own(rep))?;
            Ok(())
        },
    )?;
    store_instance.func_wrap("get", |mut store, (key,): (String,)| {
        let known = store.data().env().secret(&key).map_err(Error::from);
        let budget = store.data_mut().writing();
        Ok((match known.and_then(|text| Secret::keep(text, &budget)) {
            Ok(secret) => Ok(store.data_mut().table.push(secret)?),
            Err(error) => Err(error),
        },))
    })?;
    linker
        .instance("wasmcloud:secrets/reveal@0.1.0-draft")?
        .func_wrap("reveal", |store, (secret,): (Resource<Secret>,)| {
            Ok((match store.data().table.get(&secret)?.text.clone() {
                SecretText::String(text) => Value::String(text),
                SecretText::Bytes(bytes) => Value::Bytes(bytes),
            },))
        })
}
