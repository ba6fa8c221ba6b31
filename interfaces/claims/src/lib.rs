//! Keys and signed claims of components, providers, accounts and hosts.
//!
//! A token says who signed what: [`token`] makes and checks it, [`wasm`] keeps
//! it in a component, [`archive`] beside the libraries of a provider, and
//! [`curve`] seals secrets for one reader. Everything here reads bytes of
//! strangers, so every length has a bound and nothing panics.

pub mod archive;
mod builtin;
pub mod claims;
pub mod component;
pub mod curve;
pub mod issuers;
pub mod keys;
pub mod nats;
pub mod peer;
pub mod token;
pub mod wasm;

mod describe;

pub use builtin::{BuiltinIssuer, builtin_entity};
pub use claims::{
    AccountClaims, Claims, ComponentClaims, ComponentMetadata, HostClaims, OperatorClaims,
    ProviderClaims, ProviderMetadata, SignerMetadata,
};
pub use component::{ComponentClaimsError, VerifiedComponent, sign_component, verify_component};
pub use curve::{CurveKey, SealError};
pub use describe::{component_info, provider_info, stored_component, stored_provider};
pub use issuers::TrustedIssuers;
pub use keys::{KeyError, KeyKind, PublicKey, SigningKey};
pub use token::{TokenError, epoch_seconds};
