//! Why a served call has no answer, and who is told what of it.

use lattice_core::ComponentId;
use lattice_core::reply::ErrorCode;
use lattice_rpc::{CallError as RpcError, RemoteError};
use lattice_runtime::{CallError, HttpCallError, InvokeError};

use crate::trust::Denied;

/// Why a served call has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The request could not be read.
    #[error("could not read the parameters of the call")]
    Read(#[from] RpcError),
    #[error(transparent)]
    Call(CallError),
    #[error(transparent)]
    Http(HttpCallError),
    /// The policy service gives no leave.
    #[error("policy denied the call of `{operation}` of component `{id}`")]
    Denied {
        id: ComponentId,
        operation: String,
        source: Denied,
    },
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<HttpCallError> for Failed {
    fn from(error: HttpCallError) -> Self {
        match error {
            HttpCallError::Call(error) => Self::Call(error),
            other => Self::Http(other),
        }
    }
}

impl Failed {
    /// The code for the operator and the one for the caller.
    pub(super) fn codes(&self) -> (ErrorCode, &'static str) {
        match self {
            Self::Read(RpcError::Deadline { .. } | RpcError::NotSent { .. })
            | Self::Call(CallError::Deadline) => (ErrorCode::Timeout, RemoteError::DEADLINE),
            Self::Read(RpcError::Remote(error)) if error.code == RemoteError::OVERLOADED => {
                (ErrorCode::Busy, RemoteError::OVERLOADED)
            }
            Self::Read(_)
            | Self::Call(CallError::Params { .. })
            | Self::Http(HttpCallError::Request { .. }) => {
                (ErrorCode::BadRequest, RemoteError::BAD_REQUEST)
            }
            Self::Call(error) if error.is_overload() => (ErrorCode::Busy, RemoteError::OVERLOADED),
            Self::Call(CallError::Import(InvokeError::Deadline)) => {
                (ErrorCode::Timeout, RemoteError::DEADLINE)
            }
            Self::Denied { source, .. } => (source.code(), RemoteError::DENIED),
            Self::Call(_) | Self::Http(_) => (ErrorCode::ComponentFailed, RemoteError::FAILED),
        }
    }

    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Denied { source, .. } => Some(source.hint()),
            _ => None,
        }
    }

    /// Whether nobody has told of it yet. A call that a component made in vain is told where it
    /// was made, unless the called side only said that it failed.
    pub(super) fn is_news(&self) -> bool {
        match self {
            Self::Call(CallError::Import(error)) => matches!(error, InvokeError::Failed { .. }),
            _ => true,
        }
    }

    pub(super) fn backtrace(&self) -> Option<&str> {
        match self {
            Self::Call(CallError::Trap { backtrace, .. }) => {
                Some(backtrace.as_str()).filter(|frames| !frames.is_empty())
            }
            _ => None,
        }
    }
}
