//! What the log says of requests that failed: no more than a reader can follow, and no more than a
//! server can write that has too much to do already.

use http::Method;
use http::uri::PathAndQuery;
use lattice_rpc::RemoteError;
use lattice_rpc::throttle::LogThrottle;

use crate::failure::Failure;
use crate::route::Route;

/// Tells of the failed requests of one route: the first of a kind at once, those that follow within a second with the
/// next one, as a number. Those that are refused for want of room are a kind of their own, so that
/// they hide no others.
#[derive(Debug)]
pub(crate) struct Complaints {
    refused: LogThrottle,
    others: LogThrottle,
}

/// What is said of a request that failed, kept while the request itself is given away.
pub(crate) struct Described {
    method: Method,
    path: Option<PathAndQuery>,
}

impl Described {
    pub(crate) fn of(parts: &http::request::Parts) -> Self {
        Self {
            method: parts.method.clone(),
            path: parts.uri.path_and_query().cloned(),
        }
    }

    fn path(&self) -> &str {
        self.path.as_ref().map_or("", PathAndQuery::path)
    }

    /// Says that the client itself is to blame. Nobody here can do anything about that, and it is no
    /// failure of the component.
    pub(crate) fn tell_of_client(&self, route: &Route, failure: &Failure) {
        tracing::debug!(
            component = %route.key.peer,
            link = %route.key.name,
            method = %self.method,
            path = self.path(),
            status = failure.status.as_u16(),
            code = %failure.code,
            "a client did not send its request to the end"
        );
    }
}

impl Complaints {
    pub(crate) fn new() -> Self {
        Self {
            refused: LogThrottle::default(),
            others: LogThrottle::default(),
        }
    }

    pub(crate) fn tell(
        &self,
        described: &Described,
        route: &Route,
        failure: &Failure,
        error: &dyn std::error::Error,
    ) {
        let pace = if failure.code == RemoteError::OVERLOADED {
            &self.refused
        } else {
            &self.others
        };
        let Some(untold) = pace.turn() else {
            return;
        };
        tracing::error!(
            component = %route.key.peer,
            link = %route.key.name,
            method = %described.method,
            path = described.path(),
            status = failure.status.as_u16(),
            code = %failure.code,
            untold,
            %error,
            "a request failed"
        );
    }
}
