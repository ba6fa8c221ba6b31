//! Why a component does not run as it was asked to.

use lattice_claims::ComponentClaimsError;
use lattice_core::{ComponentId, ErrorCode, ImageRef, InvalidId};
use lattice_rpc::ConnectError;
use lattice_runtime::PrepareError;
use lattice_store::StoreError;

use super::step::Step;
use crate::artifact::FetchError;
use crate::configs::OpenConfigsError;
use crate::trust::{Denied, Refusal};

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
    /// The image may not run here.
    #[error("could not accept image `{image}`")]
    Refused {
        /// The image.
        image: ImageRef,
        /// The subject of its token.
        public_key: Option<String>,
        /// Why.
        source: Refusal,
    },
    /// The policy service gives no leave. The text begins as that of 1.9.
    #[error("Policy denied request to scale component `{id}`")]
    Policy {
        /// The component.
        id: ComponentId,
        /// Why.
        source: Denied,
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
    /// An annotation that means something to hosts has a value that does not.
    #[error("annotation `{name}` has the value `{value}`, which is none of its values")]
    Annotation {
        /// The annotation.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// A config cannot be had.
    #[error(transparent)]
    Config(#[from] OpenConfigsError),
    /// The exports could not be subscribed.
    #[error("could not serve the exports of the component")]
    Serve(#[from] ConnectError),
    /// NATS refuses a subscription.
    #[error("NATS refused the host the subscription to `{subject}`")]
    SubjectRefused {
        /// The subject.
        subject: String,
    },
    /// The lattice store could not be written.
    #[error("could not record the component in the lattice")]
    Store(#[from] StoreError),
    /// A step took too long; what ran before stays.
    #[error("could not {step} within {:?}", .step.within())]
    TooSlow {
        /// The step.
        step: Step,
    },
    /// It waited for others, and a later command makes it needless.
    #[error("a later command for the component took the place of this one")]
    Overtaken,
    /// What it is about was stopped before.
    #[error("the component was stopped before its image could be replaced")]
    Stopped,
    /// There is no room for more commands.
    #[error("the host has too many commands about components to carry out")]
    Busy,
    /// A fault of the host.
    #[error("the host failed at the command")]
    Panicked,
    /// The host stops.
    #[error("the host is stopping and starts nothing more")]
    Stopping,
}

impl ScaleError {
    /// The code under which the error crosses the wire.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Name(_) => ErrorCode::InvalidId,
            Self::Fetch { source, .. } => source.code(),
            Self::Claims { .. } => ErrorCode::ClaimsInvalid,
            Self::Refused { source, .. } => source.code(),
            Self::Policy { source, .. } => source.code(),
            Self::Prepare { source, .. } => match source {
                PrepareError::TooLarge { .. } => ErrorCode::ImageTooLarge,
                PrepareError::ShutDown => ErrorCode::ShuttingDown,
                PrepareError::Slow { .. } => ErrorCode::Timeout,
                PrepareError::MemoryLimit { .. } => ErrorCode::BadRequest,
                _ => ErrorCode::ImageInvalid,
            },
            Self::Limit { .. } | Self::Annotation { .. } => ErrorCode::BadRequest,
            Self::Config(error) => error.code(),
            Self::Serve(_) => ErrorCode::Unreachable,
            Self::SubjectRefused { .. } => ErrorCode::Forbidden,
            Self::Store(error) => error.code(),
            Self::TooSlow { .. } => ErrorCode::Timeout,
            Self::Overtaken => ErrorCode::Conflict,
            Self::Stopped => ErrorCode::NotRunning,
            Self::Busy => ErrorCode::Busy,
            Self::Panicked => ErrorCode::Internal,
            Self::Stopping => ErrorCode::ShuttingDown,
        }
    }

    /// What the reader can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        let text = match self {
            Self::Name(error) => error.hint(),
            Self::Fetch { source, .. } => source.hint(),
            Self::Claims { source, .. } => hint_for_claims(source),
            Self::Refused { source, .. } => source.hint(),
            Self::Policy { source, .. } => source.hint(),
            Self::Prepare { source, .. } => return hint_for_code(source),
            Self::Limit { .. } => {
                "give whole numbers above 0, such as `max_execution_time=10` for seconds"
            }
            Self::Annotation { .. } => {
                "give the number of calls that an instance may serve, such as `100`, or `true` or \
                 `false`"
            }
            Self::Config(error) => return error.hint(),
            Self::Store(error) => return error.hint(),
            Self::Serve(_) | Self::SubjectRefused { .. } => {
                "check that the host may subscribe to the subjects of calls in NATS"
            }
            Self::TooSlow { step } => hint_for_step(*step),
            Self::Overtaken => "wait for the end of one command before the next, if both matter",
            Self::Stopped => "start it with the new image",
            Self::Busy => "try again later, or on another host",
            Self::Panicked => "the log of the host says where",
            Self::Stopping => "start it on another host",
        };
        Some(text)
    }

    /// The subject of the token in the image, as far as it was read.
    pub(crate) fn public_key(&self) -> Option<&str> {
        match self {
            Self::Refused { public_key, .. } => public_key.as_deref(),
            _ => None,
        }
    }
}

/// What to look at when a step took too long.
fn hint_for_step(step: Step) -> &'static str {
    match step {
        Step::Fetch => "check the disk or mount of the host that the image is read from",
        Step::Leave => "check the policy service",
        Step::Configure => "check JetStream and the secrets backends",
        Step::Prepare => {
            "compiling takes long where the host has much else to do: try again, or on another host"
        }
    }
}

/// What to build or fetch instead of an image whose claims are refused.
fn hint_for_claims(error: &ComponentClaimsError) -> &'static str {
    match error {
        ComponentClaimsError::Wasm(_) => {
            "the file is cut off or damaged: copy it once more, or run `wash build` again"
        }
        _ => "`wash inspect FILE` shows the claims; build the component and sign it again",
    }
}

/// What to build instead of code that cannot run here.
fn hint_for_code(error: &PrepareError) -> Option<&'static str> {
    match error {
        PrepareError::TooLarge { .. } => Some(
            "build it for release, or start the host with a higher `--max-component-size-bytes`",
        ),
        PrepareError::NotWasm { .. } => {
            Some("name a component, such as the `.wasm` file that `wash build` makes")
        }
        PrepareError::CoreModule { .. } => {
            Some("build a component and no core module: `cargo build --target wasm32-wasip2`")
        }
        PrepareError::Compile(_) => Some(
            "`wash inspect FILE` shows what the file is; if it is cut off or old, build it again",
        ),
        PrepareError::UnsatisfiedImports { .. } | PrepareError::Link(_) => Some(
            "`wash inspect FILE --wit` shows what the component imports; build it for interfaces \
             and versions that the host has or that a link can provide",
        ),
        PrepareError::MemoryLimit { .. } => {
            Some("set `max_memory_limit` to no more than 4 GiB, or leave it out")
        }
        PrepareError::ShutDown => Some("start it on another host"),
        PrepareError::Slow { .. } => Some(
            "try again later: if the host has a folder for compiled code, it may be there then; or split its \
             largest functions, or compile it on another host",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_cannot_run_is_told_from_code_that_is_too_large() {
        let prepare = |source| ScaleError::Prepare {
            image: ImageRef::new("file:///a.wasm").unwrap(),
            source,
        };
        let found = "`hello`".to_owned();
        for (source, code) in [
            (
                PrepareError::TooLarge { size: 9, limit: 1 },
                ErrorCode::ImageTooLarge,
            ),
            (PrepareError::NotWasm { found }, ErrorCode::ImageInvalid),
            (PrepareError::ShutDown, ErrorCode::ShuttingDown),
            (
                PrepareError::Slow {
                    within: std::time::Duration::from_secs(300),
                },
                ErrorCode::Timeout,
            ),
        ] {
            let error = prepare(source);
            assert_eq!(error.code(), code, "{error:?}");
            assert!(error.hint().is_some(), "{error:?}");
        }
        assert_eq!(ScaleError::Stopping.code(), ErrorCode::ShuttingDown);
    }
}
