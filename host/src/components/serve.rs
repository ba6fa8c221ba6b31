//! Serving the exports of a component: from a message to a call of the guest and back.

mod failed;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::Either;
use http_body_util::{BodyExt as _, Empty, Full};
use lattice_codec::DecodeError;
use lattice_codec::http::ErrorCode as HttpCode;
use lattice_core::policy::{PolicyComponent, PolicyInvocation};
use lattice_core::reference::canonical;
use lattice_core::reply::{ErrorCode, message_chain};
use lattice_core::subject::RpcPrefix;
use lattice_core::{ComponentId, StringMap};
use lattice_rpc::http::{IncomingBody, REQUEST, answer, take_request};
use lattice_rpc::{
    ConnectError, Context, IncomingCall, Limiter, Others, Params, Peer, Relief, RemoteError,
    ServeHandle, ServeOptions, Watching,
};
use lattice_runtime::{
    CallContext, CallError, Export, ExportKind, HttpBody, HttpCallError, HttpResponse, ResponseBody,
};
use parking_lot::RwLock;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use super::code::Code;
use super::drains::End;
use super::error::ScaleError;
use super::others::Beside;
use super::traced;
use crate::bus_errors::BusErrors;
use crate::failures::{Failure, Failures};
use crate::trust::policy::{CallKey, claims_of};
use crate::trust::{Denied, Policy, Trust};
use failed::Failed;

/// How long before its deadline a call is given up here, so that the caller learns why.
const HEADROOM: Duration = Duration::from_millis(20);

/// What every served call of a component needs.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) id: ComponentId,
    pub(crate) failures: Arc<Failures>,
    pub(crate) trust: Arc<Trust>,
    /// Notes of whoever started it, which the policy service is told.
    pub(crate) annotations: RwLock<StringMap>,
    /// The longest time a guest may run, also one that streams.
    pub(crate) longest: Duration,
}

/// An export together with the version of the component that answers it.
#[derive(Debug)]
struct Version {
    code: Arc<Code>,
    export: Export,
    /// What a decision about calls of it is remembered by.
    key: CallKey,
}

impl Version {
    fn new(id: &ComponentId, code: &Arc<Code>, export: &Export) -> Self {
        let instance = export.instance().unwrap_or_default();
        Self {
            key: CallKey::new(id, code.image.as_str(), instance, export.function()),
            code: Arc::clone(code),
            export: export.clone(),
        }
    }
}

/// One served function. The version behind it changes; the subscription stays.
#[derive(Debug)]
pub(crate) struct Served {
    current: Arc<RwLock<Arc<Version>>>,
    handle: ServeHandle,
}

impl Served {
    /// Leaves the queue group without waiting, and takes nothing new.
    pub(crate) fn leave(&self) {
        self.handle.leave();
    }

    /// Leaves the queue group, and takes nothing new but what calls under way on this host call.
    pub(crate) fn retire(&self) {
        self.handle.retire();
    }

    /// Waits until it has left the queue group and no call of it is under way.
    pub(crate) async fn quiet(&self) {
        self.handle.quiet().await;
    }

    /// Whether it has left the queue group and no call of it is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.handle.is_quiet()
    }

    /// Leaves the queue group and lets calls under way end by themselves until `end`.
    pub(crate) async fn drain(self, end: End) {
        self.handle.drain_until(end.reached()).await;
    }
}

/// The served functions of a component, by subject.
pub(crate) type ServedExports = HashMap<String, Served>;

/// Serves exports of one component.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) peer: Peer,
    pub(crate) bus_errors: Arc<BusErrors>,
    pub(crate) prefix: RpcPrefix,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) relief: Relief,
    pub(crate) others: Arc<Beside>,
    pub(crate) call_timeout: Duration,
    pub(crate) serving: Arc<Serving>,
}

impl Server {
    /// Lets others take calls that would wait for long here, as long as what this returns is held.
    pub(crate) async fn relieve(&self) -> Result<Watching, ConnectError> {
        let limiter = Arc::clone(&self.limiter);
        let others = Arc::clone(&self.others) as Arc<dyn Others>;
        let watching = self.relief.watch(&self.peer, &self.prefix, limiter, others);
        watching.await
    }

    fn subject(&self, export: &Export) -> String {
        self.prefix
            .invocation(export.instance().unwrap_or_default(), export.function())
    }

    /// Makes `code` answer from now on, and returns the functions that it no longer has. Meanwhile
    /// nobody counts as one who serves the same. Where it fails, or is given up, all is as it was.
    pub(crate) async fn switch(
        &self,
        served: &mut ServedExports,
        code: &Arc<Code>,
    ) -> Result<Vec<Served>, ScaleError> {
        let changing = self.others.change();
        let removed = self.switch_functions(served, code).await?;
        changing.done(served_as_elsewhere(code).then(|| code.image.clone()));
        Ok(removed)
    }

    /// Functions that are new are subscribed before any call meets the new version, so that a
    /// failure leaves everything as it was. Calls under way stay with the version they met.
    async fn switch_functions(
        &self,
        served: &mut ServedExports,
        code: &Arc<Code>,
    ) -> Result<Vec<Served>, ScaleError> {
        let exports: HashMap<String, &Export> = code
            .component
            .exports()
            .iter()
            .map(|export| (self.subject(export), export))
            .collect();
        let mark = self.bus_errors.mark();
        let mut added = ServedExports::new();
        for (subject, export) in &exports {
            if !served.contains_key(subject) {
                let version = Version::new(&self.serving.id, code, export);
                added.insert(subject.clone(), self.serve(subject, version).await?);
            }
        }
        if !added.is_empty() {
            self.peer.confirm(Duration::from_secs(5)).await?;
            let subjects = added.keys().map(String::as_str);
            if let Some(subject) = self.bus_errors.refused_since(mark, subjects).await {
                let subject = subject.to_owned();
                return Err(ScaleError::SubjectRefused { subject });
            }
        }
        let removed = served.extract_if(|subject, _| !exports.contains_key(subject));
        let removed = removed.map(|(_, function)| function).collect();
        for (subject, function) in served.iter() {
            let version = Version::new(&self.serving.id, code, exports[subject]);
            *function.current.write() = Arc::new(version);
        }
        served.extend(added);
        Ok(removed)
    }

    async fn serve(&self, subject: &str, version: Version) -> Result<Served, ConnectError> {
        let is_http = matches!(version.export.kind(), ExportKind::Http);
        let current = Arc::new(RwLock::new(Arc::new(version)));
        let options = ServeOptions {
            limiter: Arc::clone(&self.limiter),
            default_deadline: self.call_timeout.min(self.serving.longest),
            longest_deadline: self.serving.longest,
            relief: self.relief.clone(),
            takes: is_http.then_some(REQUEST),
        };
        let (serving, versions) = (Arc::clone(&self.serving), Arc::clone(&current));
        let handler = move |call: IncomingCall| {
            let version = Arc::clone(&versions.read());
            Arc::clone(&serving).handle(version, call)
        };
        let queue = self.prefix.queue_group();
        let handle = self.peer.serve(subject, queue, options, handler).await?;
        Ok(Served { current, handle })
    }
}

/// What a future is given, it holds for as long as it lives; so a call is passed on as seldom as
/// can be, and functions that need not wait by themselves are none.
impl Serving {
    fn handle(
        self: Arc<Self>,
        version: Arc<Version>,
        mut call: IncomingCall,
    ) -> impl Future<Output = ()> + Send {
        if !lattice_telemetry::is_on() {
            return Either::Left(self.answer(version, call));
        }
        let function = (
            version.export.instance().unwrap_or_default(),
            version.export.function(),
        );
        let span = traced::served(&self.id, function, &mut call.context);
        Either::Right(Box::pin(self.answer(version, call).instrument(span)))
    }

    async fn answer(self: Arc<Self>, version: Arc<Version>, call: IncomingCall) {
        if let Some(policy) = &self.trust.policy
            && let Err(denied) = self.leave(policy, &version).await
        {
            return self.refuse(&version, call, denied).await;
        }
        match version.export.kind() {
            ExportKind::Http => self.handle_http(&version, call).await,
            _ => self.handle_function(&version, call).await,
        }
    }

    /// Whether the policy service lets a call through; mostly it has said so before.
    async fn leave(&self, policy: &Policy, version: &Version) -> Result<(), Denied> {
        match policy.known(&version.key) {
            Some(outcome) => outcome,
            // Apart, so that the many calls that need not wait are no larger for it.
            None => Box::pin(policy.call(&version.key, || self.question(version))).await,
        }
    }

    fn question(&self, version: &Version) -> PolicyInvocation {
        let verified = version.code.claims.as_ref();
        PolicyInvocation {
            interface: version.export.instance().unwrap_or_default().to_owned(),
            function: version.export.function().to_owned(),
            target: PolicyComponent {
                component_id: self.id.as_str().to_owned(),
                image_ref: canonical(version.code.image.as_str()).into_owned(),
                max_instances: 0,
                annotations: self.annotations.read().clone(),
                claims: verified.map(|verified| claims_of(&verified.claims)),
            },
        }
    }

    async fn refuse(&self, version: &Version, call: IncomingCall, source: Denied) {
        let denied = Failed::Denied {
            id: self.id.clone(),
            operation: operation(&version.export),
            source,
        };
        let error = self.failed(version, &call.context, denied);
        if let Err(error) = call.responder.fail(error).await {
            tracing::warn!(component = %self.id, %error, "could not send a refusal");
        }
    }

    fn handle_function<'a>(
        &'a self,
        version: &'a Version,
        call: IncomingCall,
    ) -> impl Future<Output = ()> + Send + 'a {
        let IncomingCall {
            context,
            mut params,
            responder,
            ..
        } = call;
        async move {
            let answered = pin!(async {
                let params = complete(&mut params, &version.export).await?;
                let cx = self.context(&context, headroom(context.deadline, Instant::now()));
                let component = &version.code.component;
                Ok(component.call(&version.export, cx, params).await?)
            });
            let sent = match answered.await {
                Ok(results) => responder.reply(results).await,
                Err(error) => responder.fail(self.failed(version, &context, error)).await,
            };
            if let Err(error) = sent {
                tracing::warn!(component = %self.id, %error, "could not send an answer");
            }
        }
    }

    fn handle_http<'a>(
        &'a self,
        version: &'a Version,
        call: IncomingCall,
    ) -> impl Future<Output = ()> + Send + 'a {
        let IncomingCall {
            context,
            mut params,
            responder,
            ..
        } = call;
        async move {
            let answered = pin!(self.response(version, &context, &mut params));
            let sent = match answered.await {
                Ok(response) => {
                    let on_broken = || self.on_broken_body(version, &context);
                    answer(responder, Ok(outgoing(response, on_broken))).await
                }
                Err(Failed::Http(HttpCallError::Guest(code))) => {
                    answer::<Empty<Bytes>>(responder, Err(code)).await
                }
                Err(error) => responder.fail(self.failed(version, &context, error)).await,
            };
            if let Err(error) = sent {
                tracing::debug!(component = %self.id, %error, "a response was not sent to its end");
            }
        }
    }

    /// What the component answers to a request.
    async fn response(
        &self,
        version: &Version,
        context: &Context,
        params: &mut Params,
    ) -> Result<HttpResponse, Failed> {
        let request = take_request(params).await?.map(incoming);
        let now = Instant::now();
        let head_by = headroom(context.deadline, now);
        let mut cx = self.context(context, now + self.longest);
        cx.answer_by = Some(head_by);
        cx.open_ended = context.is_open_ended();
        // The guest may go on after its answer, and counts as running as long as it does.
        cx.hold = params.take_permit().map(|permit| Box::new(permit) as _);
        let response = pin!(version.code.component.handle_http(cx, request));
        let response = timeout_at(head_by, response).await;
        Ok(response.map_err(|_| CallError::Deadline)??)
    }

    /// What to do when a body breaks off after its head was sent.
    fn on_broken_body(
        &self,
        version: &Version,
        context: &Context,
    ) -> impl Fn(&HttpCode) + Send + use<> {
        let (failures, id) = (Arc::clone(&self.failures), self.id.clone());
        let (source, operation) = (context.source_id.clone(), operation(&version.export));
        move |error| {
            failures.report(Failure {
                component: &id,
                source: source.as_deref(),
                operation: operation.clone(),
                code: ErrorCode::ComponentFailed,
                error: format!("the body of a response broke off: {error}"),
                detail: None,
            });
        }
    }

    fn context(&self, context: &Context, deadline: Instant) -> CallContext {
        let mut cx = CallContext::until(deadline);
        cx.source.clone_from(&context.source_id);
        cx.trace.clone_from(&context.trace);
        cx
    }

    /// Tells the operator why a call failed, and says what the caller is told.
    fn failed(&self, version: &Version, context: &Context, error: Failed) -> RemoteError {
        let (code, wire_code) = error.codes();
        let text = message_chain(&error);
        lattice_telemetry::failed(wire_code);
        if error.is_news() {
            self.failures.report(Failure {
                component: &self.id,
                source: context.source_id.as_deref(),
                operation: operation(&version.export),
                code,
                error: text.clone(),
                detail: error.backtrace().map(str::to_owned),
            });
        }
        let told = RemoteError::new(wire_code, text);
        match error.hint() {
            Some(hint) => told.with_hint(hint),
            None => told,
        }
    }
}

fn operation(export: &Export) -> String {
    match export.instance() {
        Some(instance) => format!("{instance}.{}", export.function()),
        None => export.function().to_owned(),
    }
}

fn headroom(deadline: Instant, now: Instant) -> Instant {
    let left = deadline.saturating_duration_since(now);
    deadline - HEADROOM.min(left / 10)
}

/// Waits until all parameters are there. A 1.9 caller does not say when they are; the types of
/// the function do.
async fn complete(params: &mut Params, export: &Export) -> Result<Bytes, Failed> {
    if params.is_complete() {
        return Ok(params.first().clone());
    }
    let mut malformed = None;
    let decoded = params.decode(|reader| {
        let all = reader.clone().take(reader.remaining())?;
        match export.params_complete(&all) {
            Ok(Some(len)) => reader.take(len),
            Ok(None) => Err(DecodeError::Incomplete { needed: 1 }),
            Err(error) => {
                malformed = Some(error);
                reader.take(all.len())
            }
        }
    });
    let decoded = decoded.await;
    match malformed {
        Some(source) => {
            let function = export.function().to_owned();
            Err(CallError::Params { function, source }.into())
        }
        None => Ok(decoded?),
    }
}

fn incoming(body: IncomingBody) -> HttpBody {
    body.map_err(|error| HttpCode::InternalError(Some(message_chain(&error))))
        .boxed_unsync()
}

fn outgoing<B: Fn(&HttpCode) + Send + 'static>(
    response: HttpResponse,
    on_broken: impl FnOnce() -> B,
) -> http::Response<HttpBody> {
    let body = match response.body {
        ResponseBody::Complete {
            data,
            trailers: None,
        } => Full::new(data)
            .map_err(|never| match never {})
            .boxed_unsync(),
        ResponseBody::Complete { data, trailers } => Full::new(data)
            .with_trailers(async move { trailers.map(Ok) })
            .map_err(|never: std::convert::Infallible| match never {})
            .boxed_unsync(),
        ResponseBody::Streaming(body) => {
            let broken = on_broken();
            body.map_err(move |error| {
                broken(&error);
                error
            })
            .boxed_unsync()
        }
    };
    http::Response::from_parts(response.head, body)
}

/// Whether a host of 1.9 serves all functions of this code that are served here. Messages come to it in
/// the form of 1.x alone (protocol page, 4.5): what is left to it would lose their metadata.
fn served_as_elsewhere(code: &Code) -> bool {
    let mut exports = code.component.exports().iter();
    exports.all(|export| {
        let instance = export.instance().unwrap_or_default();
        !(matches!(export.kind(), ExportKind::Messaging) && instance.starts_with("lattice:"))
    })
}
