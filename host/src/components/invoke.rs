//! Calls that leave a component.

use std::any::TypeId;
use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::{Method, Uri};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use lattice_codec::Path;
use lattice_codec::http::{ErrorCode as HttpCode, RequestOptions};
use lattice_core::grant;
use lattice_core::reply::ErrorCode;
use lattice_core::rules;
use lattice_core::{ComponentId, reply::message_chain};
use lattice_rpc::http::{HANDLE, HttpError, OUTGOING_HANDLER};
use lattice_rpc::{
    ByteReader, ByteWriter, Call, CallError, Invocation, Peer, RemoteError, RoadOfCall,
};
use lattice_runtime::{
    ByteStream, CallContext, HttpBody, ImportTarget, Invoke, InvokeError, StreamingReply, Value,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::due::{Carries, due};
use super::traced::called;
use crate::failures::{Failure, Failures};
use crate::links::Route;
use crate::router::Router;
use crate::trust::rules::LinkGuard;

/// What `wasi:http/outgoing-handler` is called in links.
const OUTGOING_LOOKUP: &str = "wasi:http/outgoing-handler";

/// Carries the calls of one component to their targets.
#[derive(Debug)]
pub(crate) struct ComponentInvoke {
    pub(crate) source: ComponentId,
    pub(crate) router: Router,
    pub(crate) peer: Peer,
    pub(crate) failures: Arc<Failures>,
    /// How long a call may take that is made after the answer.
    pub(crate) call_timeout: Duration,
}

impl ComponentInvoke {
    /// The route of a call, which is waited for while the link moves to another target.
    async fn resolve(
        &self,
        cx: &CallContext,
        link_name: &str,
        lookup: &str,
        operation: &str,
    ) -> Result<Arc<Route>, InvokeError> {
        let (router, source) = (&self.router, &self.source);
        let deadline = self.deadline(cx, Carries::Values);
        let found = router.resolve_soon(source, link_name, lookup, deadline);
        found.await.map_err(|_| {
            let error = InvokeError::NoLink {
                link_name: link_name.to_owned(),
                instance: lookup.to_owned(),
            };
            self.report(
                operation.to_owned(),
                ErrorCode::MissingLink,
                error.to_string(),
            );
            error
        })
    }

    /// The route of a call that may be made with values as they are. That there is none is told
    /// when the call is made in the other way.
    fn route_of_values(&self, target: ImportTarget<'_>) -> Option<Arc<Route>> {
        let (name, lookup) = (target.link_name, target.lookup);
        let route = self.router.resolve(&self.source, name, lookup).ok()?;
        route.may_pass_values().then_some(route)
    }

    fn invocation(
        &self,
        cx: &CallContext,
        route: &Route,
        (instance, function): (&str, &str),
        carries: Carries,
    ) -> (Invocation, Option<Box<RoadOfCall>>) {
        let trace = cx.trace.as_ref();
        let call = route.call(instance, function, self.deadline(cx, carries));
        // A guest runs in a call only.
        let call = call.under_way().trace(trace);
        called(call, trace, route, (instance, function))
    }

    fn deadline(&self, cx: &CallContext, carries: Carries) -> Instant {
        due(cx, self.call_timeout, carries)
    }

    /// Has a call pass the rules of its link, or tells of the denial.
    fn admit(
        &self,
        route: &Route,
        operation: impl FnOnce() -> String,
        check: impl FnOnce(&LinkGuard) -> Result<(), InvokeError>,
    ) -> Result<(), InvokeError> {
        let Some(gate) = &route.gate else {
            return Ok(());
        };
        check(gate).inspect_err(|error| {
            let code = match error {
                InvokeError::Limited { .. } => ErrorCode::Busy,
                _ => ErrorCode::Forbidden,
            };
            self.report(operation(), code, message_chain(error));
        })
    }

    /// Tells of an HTTP request that the link's target denied, and what may let it through: the
    /// error has no room for that.
    fn denied_there(&self, operation: String, code: &HttpCode, method: &Method, uri: &Uri) {
        let wanted = grant::wanted(method, uri);
        let why = match code {
            HttpCode::HttpRequestDenied => {
                format!("`{wanted}` in `allow` of the link's target config lets it through")
            }
            HttpCode::DestinationIpProhibited => format!(
                "its address is not public, or one of a metadata service; {} lets it through",
                grant::wanted_beside(method, uri)
            ),
            _ => return,
        };
        let error = format!("the link's target denied a request ({code}): {why}");
        self.report(operation, ErrorCode::Forbidden, error);
    }

    /// Tells of a call that got no answer, and says why in the terms of the runtime.
    ///
    /// What the called side reports of itself is told by its own host.
    fn failed(&self, route: &Route, operation: String, error: CallError) -> InvokeError {
        let (failed, code) = classify(&route.target, &operation, error);
        if let Some(code) = code {
            self.report(operation, code, message_chain(&failed));
        }
        failed
    }

    fn report(&self, operation: String, code: ErrorCode, error: String) {
        let source = Some(self.source.as_str());
        let component = &self.source;
        let failure = Failure {
            component,
            source,
            operation,
            code,
            error,
            detail: None,
        };
        self.failures.report(failure);
    }

    async fn open(
        &self,
        invocation: Invocation,
        params: Bytes,
        streams: Vec<(Path, ByteStream)>,
        results: &[Path],
    ) -> Result<StreamingReply, CallError> {
        let mut call = self.peer.start(invocation, params, &[]).await?;
        let mut pumps = JoinSet::new();
        for (path, stream) in streams {
            pumps.spawn(pump(call.writer(path), stream));
        }
        let answer = call.result().await?;
        // The streams keep the call and what it still sends alive until the last is dropped.
        let held = Arc::new(Held {
            call,
            _pumps: pumps,
        });
        let streams = results.iter().map(|path| {
            let stream: ByteStream = if answer.ended.contains(path) {
                Box::pin(stream::empty())
            } else {
                let reader = held.call.reader(path.clone(), None);
                Box::pin(ResultStream {
                    reader,
                    _held: Arc::clone(&held),
                })
            };
            (path.clone(), stream)
        });
        Ok(StreamingReply {
            streams: streams.collect(),
            results: answer.bytes,
        })
    }
}

#[async_trait]
impl Invoke for ComponentInvoke {
    async fn call(
        &self,
        cx: &CallContext,
        target: ImportTarget<'_>,
        params: Bytes,
    ) -> Result<Bytes, InvokeError> {
        let ImportTarget {
            lookup,
            link_name,
            instance,
            function,
            by_host,
            again,
            ..
        } = target;
        let operation = || operation(instance, function);
        let route = match self.router.resolve(&self.source, link_name, lookup) {
            Ok(route) => route,
            Err(_) => self.resolve(cx, link_name, lookup, &operation()).await?,
        };
        let is_form = by_host && rules::is_about_form(instance, function);
        self.admit(&route, operation, |gate| match (is_form, again) {
            (true, _) => gate.check_form(instance, function),
            (false, true) => gate.check_again(instance, function, &params),
            (false, false) => gate.check(instance, function, &params),
        })?;
        let named = (instance, function);
        let (invocation, _traced) = self.invocation(cx, &route, named, Carries::Values);
        let called = self.peer.call(invocation, params).await;
        let reply = called.map_err(|error| self.failed(&route, operation(), error))?;
        match &route.gate {
            Some(gate) => gate.narrow(instance, function, reply),
            None => Ok(reply),
        }
    }

    fn takes_value(&self, cx: &CallContext, target: ImportTarget<'_>, params: TypeId) -> bool {
        let Some(route) = self.route_of_values(target) else {
            return false;
        };
        let deadline = self.deadline(cx, Carries::Values);
        let call = route.call(target.instance, target.function, deadline);
        self.peer.takes_value(&call.under_way(), params)
    }

    async fn call_value(
        &self,
        cx: &CallContext,
        target: ImportTarget<'_>,
        params: Value,
    ) -> Result<Result<Value, InvokeError>, Value> {
        let Some(route) = self.route_of_values(target) else {
            return Err(params);
        };
        let (instance, function) = (target.instance, target.function);
        let named = (instance, function);
        let (invocation, _traced) = self.invocation(cx, &route, named, Carries::Values);
        let called = self.peer.call_value(&invocation, params).await?;
        let failed = |error| self.failed(&route, operation(instance, function), error);
        Ok(called.map_err(failed))
    }

    async fn call_streaming(
        &self,
        cx: &CallContext,
        target: ImportTarget<'_>,
        params: Bytes,
        streams: Vec<(Path, ByteStream)>,
        results: &[Path],
    ) -> Result<StreamingReply, InvokeError> {
        let ImportTarget {
            lookup,
            link_name,
            instance,
            function,
            again,
            ..
        } = target;
        let operation = operation(instance, function);
        let route = self.resolve(cx, link_name, lookup, &operation).await?;
        let named = || operation.clone();
        self.admit(&route, named, |gate| match again {
            true => gate.check_again(instance, function, &params),
            false => gate.check(instance, function, &params),
        })?;
        let carries = Carries::streams(!streams.is_empty());
        let named = (instance, function);
        let (invocation, _traced) = self.invocation(cx, &route, named, carries);
        let opened = self.open(invocation, params, streams, results).await;
        let reply = opened.map_err(|error| self.failed(&route, operation, error))?;
        match &route.gate {
            Some(gate) => gate.narrow_streams(instance, function, results, reply),
            None => Ok(reply),
        }
    }

    async fn send_http(
        &self,
        cx: &CallContext,
        link_name: &str,
        request: http::Request<HttpBody>,
        options: RequestOptions,
    ) -> Result<http::Response<HttpBody>, HttpCode> {
        let operation = operation(OUTGOING_HANDLER, HANDLE);
        let internal = |error: &dyn Display| HttpCode::InternalError(Some(error.to_string()));
        let route = self
            .resolve(cx, link_name, OUTGOING_LOOKUP, &operation)
            .await
            .map_err(|error| internal(&error))?;
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let named = || operation.clone();
        let admitted = self.admit(&route, named, |gate| gate.check_http(&method, &uri));
        admitted.map_err(|error| match error {
            InvokeError::Denied { .. } => HttpCode::HttpRequestDenied,
            other => internal(&other),
        })?;
        let carries = Carries::streams(!request.body().is_end_stream());
        let named = (OUTGOING_HANDLER, HANDLE);
        let (invocation, _traced) = self.invocation(cx, &route, named, carries);
        let sent = self
            .peer
            .call_http_out(invocation, request, Some(options))
            .await;
        match sent {
            Ok(response) => {
                Ok(response.map(|body| body.map_err(|error| body_code(&error)).boxed_unsync()))
            }
            Err(HttpError::Handler(code)) => {
                self.denied_there(operation, &code, &method, &uri);
                Err(code)
            }
            Err(HttpError::Call(error)) => {
                // A response that breaks off at once can take its head along: what ended it is told
                // as it is of bodies.
                let named = named_code(&error);
                let failed = self.failed(&route, operation, error);
                Err(named.unwrap_or_else(|| match failed {
                    InvokeError::Deadline => HttpCode::HttpResponseTimeout,
                    other => internal(&message_chain(&other)),
                }))
            }
            Err(error) => Err(internal(&error)),
        }
    }
}

fn operation(instance: &str, function: &str) -> String {
    if instance.is_empty() {
        function.to_owned()
    } else {
        format!("{instance}.{function}")
    }
}

/// Why the body of a response broke off.
fn body_code(error: &CallError) -> HttpCode {
    let unnamed = || HttpCode::InternalError(Some(message_chain(error)));
    named_code(error).unwrap_or_else(unnamed)
}

/// The code that the sender of a response names as what ended it.
fn named_code(error: &CallError) -> Option<HttpCode> {
    match error {
        CallError::Remote(remote) => HttpCode::named(&remote.message),
        _ => None,
    }
}

/// Puts the failure of a call into the terms of the runtime. There is no code when the called
/// side has reported the failure itself.
fn classify(
    target: &ComponentId,
    operation: &str,
    error: CallError,
) -> (InvokeError, Option<ErrorCode>) {
    let target = target.as_str().to_owned();
    match error {
        CallError::NotServed { .. } => {
            let function = operation.to_owned();
            (
                InvokeError::NotServed { target, function },
                Some(ErrorCode::Unreachable),
            )
        }
        CallError::NotLocal { why, .. } => {
            let why = why.to_string();
            (
                InvokeError::NotLocal { target, why },
                Some(ErrorCode::Unreachable),
            )
        }
        CallError::Gone { .. } => (InvokeError::Gone { target }, Some(ErrorCode::Unreachable)),
        CallError::Deadline { .. } => (InvokeError::Deadline, Some(ErrorCode::Timeout)),
        CallError::Remote(remote) => match remote.code.as_str() {
            RemoteError::OVERLOADED | RemoteError::STOPPING => {
                (InvokeError::Overloaded { target }, Some(ErrorCode::Busy))
            }
            RemoteError::DEADLINE => (InvokeError::Deadline, Some(ErrorCode::Timeout)),
            _ => (
                InvokeError::Failed {
                    target,
                    message: remote.message,
                },
                None,
            ),
        },
        CallError::Incomplete { .. } => {
            let message = "it ended without a result".to_owned();
            (
                InvokeError::Failed { target, message },
                Some(ErrorCode::ComponentFailed),
            )
        }
        other => {
            let what = format!("the call of `{target}` could not be carried");
            let source = Some(other.into());
            (
                InvokeError::Transport { what, source },
                Some(ErrorCode::Internal),
            )
        }
    }
}

/// Sends what a component streams into a call.
async fn pump(mut writer: ByteWriter, mut stream: ByteStream) {
    while let Some(item) = stream.next().await {
        let sent = match item {
            Ok(data) => writer.write(data).await,
            Err(error) => {
                tracing::debug!(%error, "a stream of a call broke off");
                return;
            }
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "a stream of a call was not taken to its end");
            return;
        }
    }
    if let Err(error) = writer.end().await {
        tracing::debug!(%error, "could not end a stream of a call");
    }
}

/// What has to live as long as the streams of an answer.
#[derive(Debug)]
struct Held {
    call: Call,
    _pumps: JoinSet<()>,
}

/// One stream of an answer.
struct ResultStream {
    reader: ByteReader,
    _held: Arc<Held>,
}

impl Stream for ResultStream {
    type Item = Result<Bytes, InvokeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.reader.poll_next(cx).map(|item| {
            item.map(|data| {
                data.map_err(|error| InvokeError::Transport {
                    what: "a stream of the answer broke off".to_owned(),
                    source: Some(error.into()),
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_that_ends_a_response_is_told_whether_its_head_came_or_not() {
        let ended =
            |message: &str| CallError::Remote(RemoteError::new(RemoteError::FAILED, message));
        let size = HttpCode::HttpRequestBodySize(None);
        let named = ended(&size.to_string());
        assert_eq!(named_code(&named), Some(size.clone()));
        assert_eq!(body_code(&named), size);
        let other = ended("it broke");
        assert_eq!(named_code(&other), None);
        let HttpCode::InternalError(Some(text)) = body_code(&other) else {
            panic!("it is none of the others");
        };
        assert!(text.contains("it broke"), "{text}");
    }
}
