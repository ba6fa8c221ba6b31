//! One connection to whichever address of a host answers.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use lattice_codec::http::ErrorCode;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

use super::too_late;
use crate::fault::{Fault, of_io};

/// How long one address is tried alone.
const ALONE: Duration = Duration::from_millis(250);

/// Opens a connection to one of some addresses. When one does not answer at once, or fails, the next
/// one is tried beside it.
pub(super) async fn open(addresses: Vec<SocketAddr>, by: Instant) -> Result<TcpStream, Fault> {
    let mut tries = FuturesUnordered::new();
    let mut rest = addresses.into_iter();
    let mut failure = None;
    loop {
        if let Some(address) = rest.next() {
            tries.push(TcpStream::connect(address));
        } else if tries.is_empty() {
            return Err(failure.unwrap_or(Fault(ErrorCode::DestinationNotFound)));
        }
        tokio::select! {
            Some(tried) = tries.next() => match tried {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    let code = of_io(&error);
                    let told = || ErrorCode::InternalError(Some(error.to_string()));
                    let code = code.unwrap_or_else(told);
                    // That there is no way to another kind of addresses tells nothing of the host.
                    if failure.is_none() || code != ErrorCode::DestinationIpUnroutable {
                        failure = Some(Fault(code));
                    }
                }
            },
            () = sleep(ALONE), if rest.len() > 0 => {}
            () = sleep_until(by) => return Err(too_late()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_without_a_way_to_it_hides_no_other_failure() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = listener.local_addr().unwrap();
        drop(listener);
        // TCP has no way to everybody.
        let unroutable = SocketAddr::from(([255, 255, 255, 255], 9));
        let by = Instant::now() + Duration::from_secs(10);
        for (addresses, expected) in [
            (vec![closed, unroutable], ErrorCode::ConnectionRefused),
            (vec![unroutable, closed], ErrorCode::ConnectionRefused),
            (vec![unroutable], ErrorCode::DestinationIpUnroutable),
        ] {
            let opened = open(addresses.clone(), by).await;
            assert_eq!(opened.map(drop), Err(Fault(expected)), "{addresses:?}");
        }
    }
}
