//! Why etcd did not do what it was asked.

use lattice_backend_http::{HttpError, TlsError};

use crate::endpoint::InvalidEndpoint;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// An endpoint is none.
    #[error(transparent)]
    Endpoint(#[from] InvalidEndpoint),
    /// There are none at all.
    #[error("there is no endpoint of etcd")]
    NoEndpoint,
    /// A certificate or key cannot be used.
    #[error("the TLS settings for etcd cannot be used")]
    Tls(#[from] TlsError),
}

/// The kind of a refusal, by the numbers of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u32);

impl Code {
    /// The request is not one that etcd takes.
    pub const INVALID_ARGUMENT: Self = Self(3);
    /// It took too long.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// A lease, user or role is not there.
    pub const NOT_FOUND: Self = Self(5);
    /// The user may not.
    pub const PERMISSION_DENIED: Self = Self(7);
    /// A limit of etcd is reached, such as the size of its database.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// Not as etcd is set up.
    pub const FAILED_PRECONDITION: Self = Self(9);
    /// A revision is gone or has not been yet.
    pub const OUT_OF_RANGE: Self = Self(11);
    /// etcd cannot do its work now.
    pub const UNAVAILABLE: Self = Self(14);
    /// The token is not known.
    pub const UNAUTHENTICATED: Self = Self(16);
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdError {
    /// No answer came.
    #[error("etcd did not answer")]
    NoAnswer {
        /// Why.
        #[source]
        source: HttpError,
    },
    /// etcd says no.
    #[error("etcd at `{authority}` refused: {message} (code {})", code.0)]
    Refused {
        /// Which member.
        authority: String,
        /// The kind.
        code: Code,
        /// In etcd's words.
        message: String,
    },
    /// The answer is not one of etcd's.
    #[error("`{authority}` answered `{path}` as etcd does not: {what}")]
    Strange {
        /// Who answered.
        authority: String,
        /// What was asked.
        path: &'static str,
        /// What is wrong with the answer.
        what: String,
    },
    /// The request cannot be written.
    #[error("the request to etcd cannot be made")]
    Request {
        /// Why.
        #[source]
        source: lattice_backend_http::BoxError,
    },
    /// What was to be watched is gone.
    #[error("etcd keeps no changes before revision {first} any more")]
    Compacted {
        /// The oldest that it keeps.
        first: i64,
    },
    /// A watch ended.
    #[error("etcd ended the watch: {reason}")]
    WatchEnded {
        /// Why.
        reason: String,
    },
}

impl EtcdError {
    /// The kind of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the login, or the lack of one, is the reason.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        let Self::Refused { code, message, .. } = self else {
            return false;
        };
        *code == Code::PERMISSION_DENIED
            || *code == Code::UNAUTHENTICATED
            // These two come as invalid arguments.
            || message.contains("authentication failed")
            || message.contains("user name is empty")
    }

    /// Whether the request itself is at fault, so that it fails at any time.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        self.code() == Some(Code::INVALID_ARGUMENT) && !self.is_denied()
    }

    /// Whether the request is larger than etcd takes, which by default is 1.5 MiB.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        let Self::Refused { message, .. } = self else {
            return false;
        };
        // etcd itself, and the way from its gateway to it.
        message.contains("request is too large") || message.contains("message larger than max")
    }

    /// Whether etcd cannot be reached or cannot do its work now, so that later may be better.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::WatchEnded { .. } => true,
            Self::Refused { code, .. } => {
                *code == Code::UNAVAILABLE || *code == Code::DEADLINE_EXCEEDED
            }
            _ => false,
        }
    }

    /// Whether a write that failed may have had its effect all the same.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::NoAnswer { source } => !source.never_sent(),
            Self::Strange { .. } => true,
            _ => self.is_unavailable(),
        }
    }

    /// Whether the token is at fault, so that another one helps.
    pub(crate) fn needs_token(&self) -> bool {
        let Self::Refused { code, message, .. } = self else {
            return false;
        };
        *code == Code::UNAUTHENTICATED || message.contains("revision of auth store is old")
    }
}
