//! `wasi:http/outgoing-handler`: requests of the guest go to the link's target.

use std::time::Duration;

use http_body_util::BodyExt as _;
use lattice_codec::http::{ErrorCode, RequestOptions};
use tokio::time::timeout_at;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::{
    ErrorCode as GuestCode, HostOutgoingRequest as _, Method, OutgoingRequest,
};
use wasmtime_wasi_http::{
    Error, RequestOptions as GuestOptions, WasiBody, WasiHttpHooks, WasiHttpView as _,
};

use super::MAX_KEPT_TEXT;
use crate::http::error::{body_code, from_wire, to_wire};
use crate::outbound::Outbound;
use crate::store::Ctx;

/// The interface as links name it.
const LOOKUP: &str = "wasi:http/outgoing-handler";

/// The interface with the types, in the version that the engine has; the linker takes it for all
/// that are compatible.
const TYPES: &str = "wasi:http/types@0.2.12";

/// How much a guest may write at once to one of the first bodies of a call: as much as the engine has
/// it by itself, which guests rely on that do not ask first.
const MAX_PIECE: usize = 1 << 20;

/// How many bodies of a call take pieces of that size. For each body that nobody reads two pieces are
/// kept, and a guest may have as many bodies as it may have handles.
const LARGE_BODIES: usize = 32;

/// How much a guest may write at once to the bodies after those.
const SMALL_PIECE: usize = 64 << 10;

/// Links the engine's interfaces, and three functions anew: that of the engine does not know its own
/// errors of bodies, and those that set the method and the authority of a request keep a text of any
/// length for its handle. Schemes and paths have a bound of their own.
pub(super) fn link(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "http-error-code",
        |store, (error,): (Resource<wasmtime::Error>,)| {
            let error = store.data().table.get(&error)?;
            Ok((code_of(error),))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store, (request, method): (Resource<OutgoingRequest>, Method)| {
            if matches!(&method, Method::Other(name) if name.len() > MAX_KEPT_TEXT) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_method(request, method)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store, (request, authority): (Resource<OutgoingRequest>, Option<String>)| {
            if authority
                .as_ref()
                .is_some_and(|text| text.len() > MAX_KEPT_TEXT)
            {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_authority(request, authority)?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The code of an error of a stream, if it is one of HTTP.
fn code_of(error: &wasmtime::Error) -> Option<GuestCode> {
    match error.downcast_ref::<GuestCode>() {
        Some(code) => Some(code.clone()),
        None => error.downcast_ref::<Error>().map(body_code),
    }
}

type Exchange = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(http::Response<WasiBody>, Exchange), Error>;

impl WasiHttpHooks for Outbound {
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        // The engine asks once for each body.
        if self.count_body() <= LARGE_BODIES {
            MAX_PIECE
        } else {
            SMALL_PIECE
        }
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<GuestOptions>,
        _: Exchange,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let (invoke, cx) = (self.invoke().clone(), self.context().clone());
        let link = self.link_name(LOOKUP).to_owned();
        let options = wire_options(options);
        let request = request.map(|body| body.map_err(to_wire).boxed_unsync());
        Box::new(async move {
            let sent = invoke.send_http(&cx, &link, request, options);
            let response = timeout_at(cx.deadline, sent)
                .await
                .unwrap_or(Err(ErrorCode::HttpResponseTimeout))
                .map_err(from_wire)?;
            let response = response.map(|body| body.map_err(from_wire).boxed_unsync());
            // The response body drives the exchange by itself.
            Ok((response, Box::new(async { Ok(()) }) as Exchange))
        })
    }
}

fn wire_options(options: Option<GuestOptions>) -> RequestOptions {
    let options = options.unwrap_or_default();
    let nanos = |time: Option<Duration>| {
        time.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    };
    RequestOptions {
        connect_timeout: nanos(options.connect_timeout),
        first_byte_timeout: nanos(options.first_byte_timeout),
        between_bytes_timeout: nanos(options.between_bytes_timeout),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::CallContext;
    use crate::limits::Meter;
    use crate::testing::EchoHttp;
    use crate::ticker::Ticker;

    fn outbound() -> Outbound {
        let cx = CallContext::within(Duration::from_millis(200));
        let engine = wasmtime::Engine::default();
        let ticker = Ticker::start(&engine, Duration::from_millis(5)).unwrap();
        let meter = Arc::new(Meter::new(ticker.enter(), None));
        Outbound::new(Arc::new(EchoHttp), cx, &meter)
    }

    #[test]
    fn little_is_kept_of_bodies_that_nobody_reads_except_of_the_first_of_a_call() {
        let mut out = outbound();
        // The engine has room for one piece more than it is told.
        let pieces = out.p2_outgoing_body_buffer_chunks() + 1;
        for _ in 0..LARGE_BODIES {
            assert_eq!(out.p2_outgoing_body_chunk_size(), 1 << 20);
        }
        assert!(out.p2_outgoing_body_chunk_size() * pieces <= 128 << 10);
    }

    async fn send(mut outbound: Outbound, path: &str) -> Result<String, Error> {
        let body = http_body_util::Full::from("hi").map_err(|never| match never {});
        let request = http::Request::post(format!("https://example.com{path}"))
            .body(body.boxed_unsync())
            .unwrap();
        let options = GuestOptions {
            first_byte_timeout: Some(Duration::from_micros(1)),
            ..GuestOptions::default()
        };
        let sent = outbound.send_request(request, Some(options), Box::new(async { Ok(()) }));
        let (response, _) = Box::into_pin(sent).await?;
        let body = response.into_body().collect().await?.to_bytes();
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_request_takes_the_link_that_was_chosen() {
        let mut chosen = outbound();
        let sent = send(chosen.clone(), "/a").await.unwrap();
        assert_eq!(
            sent,
            r#"POST https://example.com/a over default Some(1000) b"hi""#
        );
        chosen.set_link(LOOKUP.to_owned(), "proxy".into());
        assert!(send(chosen, "/a").await.unwrap().contains("over proxy"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_ends_with_the_call() {
        let ended = send(outbound(), "/never").await;
        assert!(
            matches!(ended, Err(Error::HttpResponseTimeout)),
            "{ended:?}"
        );
    }
}
