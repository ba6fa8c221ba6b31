//! Handing a request to a guest and taking its answer.

use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use futures::future::BoxFuture;
use http::header::HOST;
use http::{HeaderMap, Method};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime::component::{InstancePre, Resource};
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::ProxyIndices;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode as GuestCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};

use super::error::{from_wire, guest_to_wire, to_wire};
use super::streaming::{GuestBody, Start};
use super::tails::{self, Tails};
use super::unwritten::{is_head_only, unwritten};
use super::{HttpBody, HttpResponse, ResponseBody};
use crate::component::{Shared, classify, meter};
use crate::instance::{Rested, Seat};
use crate::instance_pool::InstancePool;
use crate::limits::{Meter, Metered};
use crate::store::Ctx;
use crate::{CallContext, CallError, HttpCallError};

/// How much of a body is collected before it is passed on as a stream.
const MAX_COMPLETE: usize = 256 << 10;

type Answer = Result<http::Response<HyperOutgoingBody>, GuestCode>;

/// What handling HTTP takes, made once per component.
pub(crate) struct HttpPlan {
    handler: Arc<Handler>,
    tails: Arc<Tails>,
}

/// What it takes to make an instance and to call its handler.
struct Handler {
    pre: InstancePre<Ctx>,
    indices: ProxyIndices,
}

impl HttpPlan {
    pub(crate) fn new(pre: InstancePre<Ctx>, shared: &Shared) -> wasmtime::Result<Self> {
        let threads = shared.runtime.long_work().cloned();
        let indices = ProxyIndices::new(&pre)?;
        Ok(Self {
            handler: Arc::new(Handler { pre, indices }),
            tails: Arc::new(Tails::new(Arc::clone(&shared.env), threads)),
        })
    }

    /// Hands over a request; what is returned runs the guest until there is an answer.
    pub(crate) fn handle(
        &self,
        instance_pool: &Arc<InstancePool>,
        cx: CallContext,
        request: http::Request<HttpBody>,
    ) -> Result<Exchange, HttpCallError> {
        let (deadline, method) = (cx.deadline, request.method().clone());
        let meter = meter(instance_pool.shared());
        let mut seat = Seat::take(instance_pool, cx, &meter);
        let (answer, answered) = oneshot::channel();
        let (request, outparam) = resources(seat.data_mut(), request, answer)?;
        let handler = Arc::clone(&self.handler);
        let guest = async move {
            let mut live = seat.instance(&handler.pre).await?;
            let handled = live.handle_http(&handler.indices, request, outparam);
            match handled.await {
                Ok(()) => Ok(live.rest()),
                Err(error) => Err(classify(error, &live.store)),
            }
        };
        Ok(Exchange {
            guest: Guest::running(Box::pin(Metered::new(Arc::clone(&meter), guest))),
            meter,
            method,
            deadline,
            timer: None,
            tails: Arc::downgrade(&self.tails),
            answered: Some(answered),
            head: None,
            body: None,
            collected: BytesMut::new(),
            trailers: None,
        })
    }
}

fn resources(
    cx: &mut Ctx,
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
    let mut view = cx.http();
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

/// A guest, which may leave an instance behind that can serve another call.
pub(super) type GuestFuture = BoxFuture<'static, Result<Option<Rested>, CallError>>;

/// A guest on its way, or how it ended.
#[derive(Default)]
pub(super) struct Guest {
    future: Option<GuestFuture>,
    outcome: Option<Result<(), CallError>>,
    rested: Option<Rested>,
}

impl Guest {
    pub(super) fn running(future: GuestFuture) -> Self {
        Self {
            future: Some(future),
            ..Self::default()
        }
    }

    /// Lets the guest run; true when it has just come to its end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(future) = &mut self.future else {
            return false;
        };
        let Poll::Ready(outcome) = future.as_mut().poll(cx) else {
            return false;
        };
        self.future = None;
        self.outcome = Some(outcome.map(|rested| self.rested = rested));
        true
    }

    fn has_ended(&self) -> bool {
        self.outcome.is_some()
    }

    /// Lets its instance serve another call, if it has ended well and answered.
    pub(super) fn keep(&mut self) {
        if let Some(rested) = self.rested.take() {
            rested.keep();
        }
    }

    /// Takes the failure it ended with, if it did.
    pub(super) fn failure(&mut self) -> Option<CallError> {
        self.outcome
            .take_if(|outcome| outcome.is_err())
            .and_then(Result::err)
    }

    /// Takes the guest itself, if it is still on its way.
    pub(super) fn into_future(self) -> Option<GuestFuture> {
        self.future
    }
}

/// A guest and its answer, driven together until there is something to return.
pub(crate) struct Exchange {
    guest: Guest,
    /// Has the clock by which a busy guest gives way to others.
    meter: Arc<Meter>,
    /// Of the request.
    method: Method,
    deadline: Instant,
    /// Made when there is something to wait for.
    timer: Option<Pin<Box<Sleep>>>,
    tails: Weak<Tails>,
    answered: Option<oneshot::Receiver<Answer>>,
    head: Option<http::response::Parts>,
    body: Option<HyperOutgoingBody>,
    collected: BytesMut,
    trailers: Option<HeaderMap>,
}

impl Exchange {
    /// Takes the answer; true when it has just come.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Result<bool, HttpCallError> {
        let Some(answered) = &mut self.answered else {
            return Ok(false);
        };
        let answer = match Pin::new(&mut *answered).poll(cx) {
            Poll::Ready(answer) => answer.ok(),
            // tokio has a task wait that has done much in one go, although the answer is there.
            Poll::Pending if self.guest.has_ended() => answered.try_recv().ok(),
            Poll::Pending => return Ok(false),
        };
        self.answered = None;
        match answer {
            Some(Ok(response)) => {
                let (head, body) = response.into_parts();
                let is_head_only = is_head_only(&self.method, head.status);
                self.body = Some(if is_head_only { unwritten(body) } else { body });
                self.head = Some(head);
                Ok(true)
            }
            Some(Err(code)) => {
                // It may have something left to do, as after any answer.
                let guest = std::mem::take(&mut self.guest);
                tails::let_finish(&self.tails, guest, self.deadline);
                Err(HttpCallError::Guest(guest_to_wire(code)))
            }
            // The guest has ended without an answer; its outcome says why.
            None => Ok(false),
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
                Ok(Some(frame)) => match frame.into_data() {
                    Ok(data) => self.collected.extend_from_slice(&data),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                // A trap ends the body, too; what has come of it is not all then.
                Ok(None) => match self.guest.failure() {
                    Some(cause) => return Err(cause.into()),
                    None => self.body = None,
                },
                Err(error) => {
                    let broken = || HttpCallError::Guest(to_wire(error));
                    return Err(self.guest.failure().map_or_else(broken, Into::into));
                }
            }
        }
        Ok(progress)
    }

    /// Lets guest and answer go on until both wait for something; true when the guest could go on, but has
    /// to give way to others.
    fn poll_both(&mut self, cx: &mut Context<'_>) -> Result<bool, HttpCallError> {
        let began = self.meter.now();
        // Guest and body wake each other: what is ready within this poll is taken within it.
        loop {
            let mut progress = self.guest.poll(cx);
            progress |= self.poll_answer(cx)?;
            progress |= self.poll_body(cx)?;
            if !progress || self.collected.len() >= MAX_COMPLETE {
                return Ok(false);
            }
            // A busy guest gives way at each tick, which another round would make nothing of.
            if !self.guest.has_ended() && self.meter.now() != began {
                return Ok(true);
            }
        }
    }

    /// What to return once the guest has ended or waits for something.
    fn conclude(&mut self) -> Poll<Result<HttpResponse, HttpCallError>> {
        let Some(head) = self.head.take() else {
            return match self.guest.outcome.take() {
                None => Poll::Pending,
                Some(Ok(())) => Poll::Ready(Err(HttpCallError::NoResponse)),
                Some(Err(error)) => Poll::Ready(Err(error.into())),
            };
        };
        let data = std::mem::take(&mut self.collected).freeze();
        let mut guest = std::mem::take(&mut self.guest);
        guest.keep();
        let body = if let Some(body) = self.body.take() {
            let start = Start {
                data,
                trailers: self.trailers.take(),
            };
            let (meter, tails) = (Arc::clone(&self.meter), self.tails.clone());
            let rest = GuestBody::new(guest, meter, body, start, self.deadline, tails);
            ResponseBody::Streaming(rest.pumped().boxed_unsync())
        } else {
            tails::let_finish(&self.tails, guest, self.deadline);
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
        let concluded = if this.poll_both(cx)? {
            // Woken as the guest itself is when it gives way: after others, timers and sockets.
            let _woken_later = pin!(tokio::task::yield_now()).poll(cx);
            Poll::Pending
        } else {
            this.conclude()
        };
        if concluded.is_pending() {
            let timer = || Box::pin(sleep_until(this.deadline));
            ready!(this.timer.get_or_insert_with(timer).as_mut().poll(cx));
            return Poll::Ready(Err(CallError::Deadline.into()));
        }
        concluded
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use bytes::Bytes;
    use futures::channel::mpsc;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use wasmtime::Engine;
    use wasmtime_wasi_http::Error;

    use super::*;
    use crate::testing::FakeEnv;
    use crate::ticker::Ticker;

    /// Longer than anything here should take on a busy machine.
    const SOON: Duration = Duration::from_secs(60);
    /// In how many pieces the guest writes its body.
    const PIECES: usize = 20;

    /// Answers at once; computes for a tick before each piece of the body, and gives way then.
    fn busy(ticker: &Ticker) -> (GuestFuture, oneshot::Receiver<Answer>) {
        let (answer, answered) = oneshot::channel();
        let (pieces, read) = mpsc::unbounded::<Result<Frame<Bytes>, Error>>();
        let body = StreamBody::new(read).boxed_unsync();
        let sent = answer.send(Ok(http::Response::new(body)));
        assert!(sent.is_ok());
        let running = ticker.enter();
        let guest = async move {
            for _ in 0..PIECES {
                let began = running.now();
                while running.now() == began {
                    std::thread::yield_now();
                }
                let piece = Frame::data(Bytes::from_static(b"."));
                pieces.unbounded_send(Ok(piece)).unwrap();
                tokio::task::yield_now().await;
            }
            Ok::<_, CallError>(None::<Rested>)
        };
        (Box::pin(guest), answered)
    }

    #[tokio::test]
    async fn a_guest_that_computes_between_pieces_of_its_body_gives_way_at_each_tick() {
        // The ticks end with their engine.
        let engine = Engine::default();
        let ticker = Ticker::start(&engine, Duration::from_millis(1)).unwrap();
        let tails = Arc::new(Tails::new(Arc::<FakeEnv>::default(), None));
        let (guest, answered) = busy(&ticker);
        let mut exchange = Exchange {
            guest: Guest::running(guest),
            meter: Arc::new(Meter::new(ticker.enter(), None)),
            method: Method::GET,
            deadline: Instant::now() + SOON,
            timer: None,
            tails: Arc::downgrade(&tails),
            answered: Some(answered),
            head: None,
            body: None,
            collected: BytesMut::new(),
            trailers: None,
        };
        let mut polls = 0;
        let response = poll_fn(|cx| {
            polls += 1;
            Pin::new(&mut exchange).poll(cx)
        });
        let ResponseBody::Complete { data, .. } = response.await.unwrap().body else {
            panic!("it has ended before anything was to be returned");
        };
        assert_eq!(data.len(), PIECES);
        assert!(polls >= PIECES, "{polls}");
    }
}
