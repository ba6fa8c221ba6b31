//! `wasi:http/outgoing-handler`: requests of the guest go to the link's target.

use std::time::Duration;

use http_body_util::BodyExt as _;
use lattice_codec::http::{ErrorCode, RequestOptions};
use tokio::time::timeout_at;
use wasmtime_wasi_http::{Error, RequestOptions as GuestOptions, WasiBody, WasiHttpHooks};

use crate::http::error::{from_wire, to_wire};
use crate::outbound::Outbound;

/// The interface as links name it.
const LOOKUP: &str = "wasi:http/outgoing-handler";

type Exchange = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(http::Response<WasiBody>, Exchange), Error>;

impl WasiHttpHooks for Outbound {
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
