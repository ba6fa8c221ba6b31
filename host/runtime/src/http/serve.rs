//! Handing a request to a guest and taking its answer.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::HOST;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use lattice_codec::http::ErrorCode;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime::Store;
use wasmtime::component::{InstancePre, Resource};
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode as GuestCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};

use super::error::{from_wire, guest_to_wire, to_wire};
use super::tails::{self, Tails};
use super::{HttpBody, HttpResponse, ResponseBody};
use crate::component::{Shared, classify, meter};
use crate::imports::chain;
use crate::limits::Metered;
use crate::store::{Ctx, new_store};
use crate::{CallContext, CallError, HostEnv, HttpCallError};

/// How much of a body is collected before it is passed on as a stream.
const MAX_COMPLETE: usize = 256 << 10;

type Answer = Result<http::Response<HyperOutgoingBody>, GuestCode>;

/// What handling HTTP takes, made once per component.
pub(crate) struct HttpPlan {
    pre: ProxyPre<Ctx>,
    tails: Arc<Tails>,
}

impl HttpPlan {
    pub(crate) fn new(pre: InstancePre<Ctx>, env: Arc<dyn HostEnv>) -> wasmtime::Result<Self> {
        Ok(Self {
            pre: ProxyPre::new(pre)?,
            tails: Arc::new(Tails::new(env)),
        })
    }

    pub(crate) async fn handle(
        &self,
        shared: &Arc<Shared>,
        cx: CallContext,
        request: http::Request<HttpBody>,
    ) -> Result<HttpResponse, HttpCallError> {
        let deadline = cx.deadline;
        let meter = meter(shared);
        let mut store = new_store(shared, cx, &meter);
        let (answer, answered) = oneshot::channel();
        let (request, outparam) = resources(&mut store, request, answer)?;
        let pre = self.pre.clone();
        let guest = async move {
            let outcome = async {
                let proxy = pre.instantiate_async(&mut store).await?;
                proxy
                    .wasi_http_incoming_handler()
                    .call_handle(&mut store, request, outparam)
                    .await
            };
            outcome.await.map_err(|error| classify(error, &store))
        };
        let guest: GuestFuture = Box::pin(Metered::new(meter, guest));
        Exchange {
            guest: Some(guest),
            deadline,
            timer: Box::pin(sleep_until(deadline)),
            tails: Arc::downgrade(&self.tails),
            answered: Some(answered),
            outcome: None,
            head: None,
            body: None,
            collected: BytesMut::new(),
            trailers: None,
        }
        .await
    }
}

fn resources(
    store: &mut Store<Ctx>,
    request: http::Request<HttpBody>,
    answer: oneshot::Sender<Answer>,
) -> Result<
    (
        Resource<HostIncomingRequest>,
        Resource<HostResponseOutparam>,
    ),
    HttpCallError,
> {
    let invalid = |error: wasmtime::Error| HttpCallError::Request {
        reason: format!("{error:#}"),
    };
    let scheme = match request.uri().scheme_str() {
        None | Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        Some(other) => Scheme::Other(other.to_owned()),
    };
    let request = with_authority(request).map(|body| body.map_err(from_wire));
    let mut view = store.data_mut().http();
    let request = view
        .new_incoming_request(scheme, request)
        .map_err(invalid)?;
    let outparam = view.new_response_outparam(answer).map_err(invalid)?;
    Ok((request, outparam))
}

/// A request without a host is taken for one to this machine; the guest interface wants one.
fn with_authority(request: http::Request<HttpBody>) -> http::Request<HttpBody> {
    let named = request.uri().authority().is_some() || request.headers().contains_key(HOST);
    if named {
        return request;
    }
    let (mut head, body) = request.into_parts();
    let mut uri = std::mem::take(&mut head.uri).into_parts();
    uri.authority = Some(http::uri::Authority::from_static("localhost"));
    uri.scheme.get_or_insert(http::uri::Scheme::HTTP);
    uri.path_and_query
        .get_or_insert(http::uri::PathAndQuery::from_static("/"));
    head.uri = http::Uri::from_parts(uri).unwrap_or_default();
    http::Request::from_parts(head, body)
}

pub(super) type GuestFuture = Pin<Box<dyn Future<Output = Result<(), CallError>> + Send>>;

/// A guest and its answer, driven together until there is something to return.
struct Exchange {
    guest: Option<GuestFuture>,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
    tails: Weak<Tails>,
    answered: Option<oneshot::Receiver<Answer>>,
    outcome: Option<Result<(), CallError>>,
    head: Option<http::response::Parts>,
    body: Option<HyperOutgoingBody>,
    collected: BytesMut,
    trailers: Option<HeaderMap>,
}

impl Exchange {
    /// Lets the guest run; true when it has come to its end.
    fn poll_guest(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(guest) = &mut self.guest else {
            return false;
        };
        match guest.as_mut().poll(cx) {
            Poll::Ready(outcome) => {
                self.outcome = Some(outcome);
                self.guest = None;
                true
            }
            Poll::Pending => false,
        }
    }

    /// Takes the answer; true when it has just come.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Result<bool, HttpCallError> {
        let Some(answered) = &mut self.answered else {
            return Ok(false);
        };
        let Poll::Ready(answer) = Pin::new(answered).poll(cx) else {
            return Ok(false);
        };
        self.answered = None;
        match answer {
            Ok(Ok(response)) => {
                let (head, body) = response.into_parts();
                self.head = Some(head);
                self.body = Some(body);
                Ok(true)
            }
            Ok(Err(code)) => Err(HttpCallError::Guest(guest_to_wire(code))),
            // The store is gone without an answer; the guest's outcome says why.
            Err(_) => Ok(false),
        }
    }

    /// Collects what the guest has written of the body; true when there was something.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Result<bool, HttpCallError> {
        let mut progress = false;
        while self.collected.len() < MAX_COMPLETE {
            let Some(body) = &mut self.body else { break };
            let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
                break;
            };
            progress = true;
            match frame.transpose() {
                Ok(None) => self.body = None,
                Ok(Some(frame)) => match frame.into_data() {
                    Ok(data) => self.collected.extend_from_slice(&data),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                // A body that breaks off is mostly the consequence of a trap.
                Err(error) => {
                    return Err(match self.outcome.take() {
                        Some(Err(cause)) => cause.into(),
                        _ => HttpCallError::Guest(to_wire(error)),
                    });
                }
            }
        }
        Ok(progress)
    }

    /// What to return once the guest has ended or waits for something.
    fn conclude(&mut self) -> Poll<Result<HttpResponse, HttpCallError>> {
        let Some(head) = self.head.take() else {
            return match self.outcome.take() {
                None => Poll::Pending,
                Some(Ok(())) => Poll::Ready(Err(HttpCallError::NoResponse)),
                Some(Err(error)) => Poll::Ready(Err(error.into())),
            };
        };
        let data = std::mem::take(&mut self.collected).freeze();
        let body = if let Some(body) = self.body.take() {
            let rest = GuestBody {
                guest: self.guest.take(),
                deadline: self.deadline,
                timer: Box::pin(sleep_until(self.deadline)),
                tails: self.tails.clone(),
                outcome: self.outcome.take(),
                body: Some(body),
                first: data,
                trailers: self.trailers.take(),
            };
            ResponseBody::Streaming(rest.boxed_unsync())
        } else {
            tails::let_finish(
                &self.tails,
                self.guest.take(),
                self.outcome.take(),
                self.deadline,
            );
            ResponseBody::Complete {
                data,
                trailers: self.trailers.take(),
            }
        };
        Poll::Ready(Ok(HttpResponse { head, body }))
    }
}

impl Future for Exchange {
    type Output = Result<HttpResponse, HttpCallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // Guest and body wake each other: what is ready within this poll is taken within it.
        loop {
            let mut progress = this.poll_guest(cx);
            progress |= this.poll_answer(cx)?;
            progress |= this.poll_body(cx)?;
            if !progress || this.collected.len() >= MAX_COMPLETE {
                break;
            }
        }
        let concluded = this.conclude();
        if concluded.is_pending() {
            ready!(this.timer.as_mut().poll(cx));
            return Poll::Ready(Err(CallError::Deadline.into()));
        }
        concluded
    }
}

/// The body of an answer whose guest still runs.
struct GuestBody {
    guest: Option<GuestFuture>,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
    tails: Weak<Tails>,
    outcome: Option<Result<(), CallError>>,
    body: Option<HyperOutgoingBody>,
    first: Bytes,
    trailers: Option<HeaderMap>,
}

type BodyFrame = Option<Result<Frame<Bytes>, ErrorCode>>;

impl GuestBody {
    fn fail(&mut self, error: &CallError) -> BodyFrame {
        self.guest = None;
        self.body = None;
        Some(Err(ErrorCode::InternalError(Some(chain(error)))))
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<BodyFrame> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        Poll::Ready(match ready!(Pin::new(body).poll_frame(cx)) {
            Some(Ok(frame)) => Some(Ok(frame)),
            Some(Err(error)) => match self.outcome.take() {
                Some(Err(cause)) => self.fail(&cause),
                _ => {
                    self.body = None;
                    Some(Err(to_wire(error)))
                }
            },
            None => {
                self.body = None;
                let (guest, outcome) = (self.guest.take(), self.outcome.take());
                tails::let_finish(&self.tails, guest, outcome, self.deadline);
                None
            }
        })
    }
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = ErrorCode;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BodyFrame> {
        let this = &mut *self;
        if !this.first.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.first)))));
        }
        if let Some(trailers) = this.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        if let Poll::Ready(frame) = this.poll_data(cx) {
            return Poll::Ready(frame);
        }
        if let Some(guest) = &mut this.guest
            && let Poll::Ready(outcome) = guest.as_mut().poll(cx)
        {
            this.guest = None;
            this.outcome = Some(outcome);
        }
        if let Poll::Ready(frame) = this.poll_data(cx) {
            return Poll::Ready(frame);
        }
        ready!(this.timer.as_mut().poll(cx));
        Poll::Ready(this.fail(&CallError::Deadline))
    }
}
