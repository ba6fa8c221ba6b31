//! The way out: what the host does for imports that leave the process.

use std::any::{Any, TypeId};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use lattice_codec::Path;
use lattice_codec::http::{ErrorCode, RequestOptions};
use lattice_core::TraceContext;
use tokio::time::Instant;

use crate::{HttpBody, Shape};

/// What one invocation of a component carries with it.
pub struct CallContext {
    /// The id of the component or provider that calls, as far as it told.
    pub source: Option<Arc<str>>,
    /// When the call must be over; calls that it makes in turn have no longer either.
    pub deadline: Instant,
    /// When the answer has to be there, for a guest that may go on after it until `deadline`, as
    /// one that streams a body does. Calls that it makes before have no longer.
    pub answer_by: Option<Instant>,
    /// Whether `answer_by` is no limit that the caller has set, as while the request is still being
    /// sent. Calls that the guest makes have the usual time each, but for those that carry streams.
    pub open_ended: bool,
    /// The caller's trace context.
    pub trace: Option<TraceContext>,
    /// Anything that has to live exactly as long as the call, such as a permit. It is dropped when
    /// the guest has ended, also when the caller goes away in mid-call; an instance that is kept
    /// does not keep it.
    pub hold: Option<Box<dyn Any + Send + Sync>>,
}

impl CallContext {
    /// A context with a deadline and nothing else.
    pub fn until(deadline: Instant) -> Self {
        Self {
            source: None,
            deadline,
            answer_by: None,
            open_ended: false,
            trace: None,
            hold: None,
        }
    }

    /// A context whose deadline is `time` from now.
    pub fn within(time: Duration) -> Self {
        Self::until(Instant::now() + time)
    }

    /// Ties `guard` to the life time of the instance.
    #[must_use]
    pub fn holding(mut self, guard: impl Any + Send + Sync) -> Self {
        self.hold = Some(Box::new(guard));
        self
    }
}

impl fmt::Debug for CallContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallContext")
            .field("source", &self.source)
            .field("deadline", &self.deadline)
            .field("trace", &self.trace)
            .finish_non_exhaustive()
    }
}

/// The function that an import call is meant for, before the link is resolved.
#[derive(Debug, Clone, Copy)]
pub struct ImportTarget<'a> {
    /// The interface as links name it, without version: `wasi:keyvalue/store`.
    pub lookup: &'a str,
    /// The link name: `default` unless the instance chose another with `set-link-name`.
    pub link_name: &'a str,
    /// The interface as it stands on the wire: `wrpc:keyvalue/store@0.2.0-draft`. Empty for
    /// a function that the component imports outside of any interface.
    pub instance: &'a str,
    /// The function as it stands on the wire: `get`, `bucket.list-keys`.
    pub function: &'a str,
    /// Tells when the bytes of the results are complete.
    pub results: &'a Shape,
    /// Whether the host makes the call for itself, and no guest has asked for it.
    pub by_host: bool,
    /// Whether this is one call of the guest once more, in a further form since nobody serves the one
    /// before: what counts calls has counted it.
    pub again: bool,
}

/// Parameters or results as they are.
pub type Value = Box<dyn Any + Send>;

/// Bytes that travel on one asynchronous path, exactly as they stand on the wire: each item
/// continues the byte stream, chunk boundaries mean nothing.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, InvokeError>> + Send>>;

/// The answer to a call that has asynchronous results.
pub struct StreamingReply {
    /// The encoded results.
    pub results: Bytes,
    /// What follows on each path that was asked for. A path whose value is inline in `results`
    /// may be missing.
    pub streams: Vec<(Path, ByteStream)>,
}

impl fmt::Debug for StreamingReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<_> = self.streams.iter().map(|(path, _)| path).collect();
        f.debug_struct("StreamingReply")
            .field("results", &self.results)
            .field("streams", &paths)
            .finish()
    }
}

/// Why a call that left the component did not come back with a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvokeError {
    /// The component has no such link. The text is the one of the 1.9 lattice.
    #[error("link `{link_name}` not found for instance `{instance}`")]
    NoLink {
        /// The link name that was asked for.
        link_name: String,
        /// The interface that was looked up.
        instance: String,
    },
    /// Nobody serves the function under the link's target.
    #[error("`{target}` does not serve `{function}`")]
    NotServed {
        /// The link's target.
        target: String,
        /// Interface and function.
        function: String,
    },
    /// The link keeps its calls on this machine, and nobody there can serve this one.
    #[error(
        "nobody can serve `{target}` whom its host reaches without NATS ({why}), and its link is local-only; \
         start it on this host, or put the link with another locality"
    )]
    NotLocal {
        /// The link's target.
        target: String,
        /// Why the call would have had to leave the machine.
        why: String,
    },
    /// A rule of the link refuses the call, which has not left the host.
    #[error("the rule `{rule}` of the link `{link}` refuses `{function}`: {why}")]
    Denied {
        /// The name of the rule.
        rule: String,
        /// The link in words.
        link: String,
        /// Interface and function.
        function: String,
        /// What is refused, and what would let it through.
        why: String,
    },
    /// There have been as many calls through the link as its rate allows; this one has not left the
    /// host.
    #[error(
        "the rule `rate` of the link `{link}` refuses `{function}` beyond {rate}; try again in \
         {retry_after_ms} ms"
    )]
    Limited {
        /// The rate.
        rate: String,
        /// The link in words.
        link: String,
        /// Interface and function.
        function: String,
        /// When the next one may pass.
        retry_after_ms: u64,
    },
    /// The target has no room for the call; it was not executed.
    #[error("`{target}` is overloaded")]
    Overloaded {
        /// The link's target.
        target: String,
    },
    /// The call's time ran out.
    #[error("the call did not end before its deadline")]
    Deadline,
    /// Whoever had taken the call went away; it was executed or not.
    #[error("`{target}` failed: whoever served it went away before the call was done")]
    Gone {
        /// The link's target.
        target: String,
    },
    /// The callee took the call and failed.
    #[error("`{target}` failed: {message}")]
    Failed {
        /// The link's target.
        target: String,
        /// What the callee said, or that it ended without a result.
        message: String,
    },
    /// The call could not be carried.
    #[error("{what}")]
    Transport {
        /// What failed.
        what: String,
        /// Why.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// Carries calls out of the process. The host implements it.
///
/// A call must end at the deadline of its context; the runtime stops waiting then by itself and
/// drops the future, which has to cancel the call.
#[async_trait]
pub trait Invoke: Send + Sync + 'static {
    /// Calls a function that has no asynchronous parameters or results.
    ///
    /// `params` and the answer are encoded as tuples. A function without results is answered
    /// with no bytes, after the callee has finished.
    ///
    /// # Errors
    ///
    /// Any [`InvokeError`]. [`InvokeError::NoLink`] when the link table has no entry.
    async fn call(
        &self,
        cx: &CallContext,
        target: ImportTarget<'_>,
        params: Bytes,
    ) -> Result<Bytes, InvokeError>;

    /// Whether [`Invoke::call_value`] would call with parameters of this type right now. It is asked
    /// for every call that could be made so, and is to cost next to nothing.
    fn takes_value(&self, _cx: &CallContext, _target: ImportTarget<'_>, _params: TypeId) -> bool {
        false
    }

    /// Calls a function with its parameters as they are, a tuple, where whoever serves it is in this
    /// process and takes them so. The answer is what the function returns, as it is; of which types
    /// both are says [`lattice_core::values`]. Its parts are not counted, as those of an encoded answer
    /// are: whoever answers has made room for them already, where a few bytes would have it made here.
    ///
    /// To be called where [`Invoke::takes_value`] says so.
    ///
    /// # Errors
    ///
    /// The parameters themselves where that is not so: the call has not been made. Else as
    /// [`Invoke::call`].
    async fn call_value(
        &self,
        _cx: &CallContext,
        _target: ImportTarget<'_>,
        params: Value,
    ) -> Result<Result<Value, InvokeError>, Value> {
        Err(params)
    }

    /// Calls a function with streams or futures among its parameters or results.
    ///
    /// `streams` are the pending parameters by path; they are sent while the call runs.
    /// `results` names the paths on which results may follow.
    ///
    /// # Errors
    ///
    /// As [`Invoke::call`].
    async fn call_streaming(
        &self,
        cx: &CallContext,
        target: ImportTarget<'_>,
        params: Bytes,
        streams: Vec<(Path, ByteStream)>,
        results: &[Path],
    ) -> Result<StreamingReply, InvokeError>;

    /// Sends an HTTP request through the link for `wasi:http/outgoing-handler`
    /// (`wrpc:http/outgoing-handler@0.1.0` on the wire).
    ///
    /// # Errors
    ///
    /// The `error-code` that the guest sees.
    async fn send_http(
        &self,
        cx: &CallContext,
        link_name: &str,
        request: http::Request<HttpBody>,
        options: RequestOptions,
    ) -> Result<http::Response<HttpBody>, ErrorCode>;
}
