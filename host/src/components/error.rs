//! Why a component does not run as it was asked to.

use lattice_claims::ComponentClaimsError;
use lattice_core::{ImageRef, InvalidId};
use lattice_rpc::ConnectError;
use lattice_runtime::PrepareError;
use lattice_store::{BundleError, StoreError};

use crate::artifact::FetchError;

/// Why a component could not be started, scaled or updated. With every cause, this is the text of
/// `component_scale_failed`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ScaleError {
    /// A name in the command breaks a rule.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// The image could not be read.
    #[error("could not fetch image `{image}`")]
    Fetch {
        /// The image.
        image: ImageRef,
        /// Why.
        source: FetchError,
    },
    /// The claims in the image do not hold.
    #[error("could not accept the claims of image `{image}`")]
    Claims {
        /// The image.
        image: ImageRef,
        /// Why.
        source: ComponentClaimsError,
    },
    /// The image is no component that can run here.
    #[error("could not prepare image `{image}`")]
    Prepare {
        /// The image.
        image: ImageRef,
        /// Why.
        source: PrepareError,
    },
    /// A limit is not a number.
    #[error("limit `{name}` has the value `{value}`, which is not a whole number above 0")]
    Limit {
        /// The limit.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// A config cannot be had.
    #[error(transparent)]
    Config(#[from] BundleError),
    /// Secrets are named and there is no backend.
    #[error("secret store not configured, could not fetch secrets: {}", names.join(", "))]
    Secrets {
        /// The secrets.
        names: Vec<String>,
    },
    /// The exports could not be subscribed.
    #[error("could not serve the exports of the component")]
    Serve(#[from] ConnectError),
    /// The lattice store could not be written.
    #[error("could not record the component in the lattice")]
    Store(#[from] StoreError),
    /// The host stops.
    #[error("the host is stopping and starts nothing more")]
    Stopping,
}
