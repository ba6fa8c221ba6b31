//! What went wrong, in the words of `wasi:http`.

use std::error::Error;
use std::io;

use lattice_codec::http::ErrorCode;
use lattice_provider_sdk::chain;

/// An error that knows its code. Whatever wraps it on its way, the code is found again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Fault(pub(crate) ErrorCode);

impl From<ErrorCode> for Fault {
    fn from(code: ErrorCode) -> Self {
        Self(code)
    }
}

/// When something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Before the response had begun.
    Head,
    /// While its body was read.
    Body,
}

/// The code of an error: that of the most telling cause.
pub(crate) fn code_of(error: &(dyn Error + 'static), stage: Stage) -> ErrorCode {
    let precise = causes(error).find_map(|cause| precise(cause, stage));
    let general = || {
        let hyper = causes(error).filter_map(|cause| cause.downcast_ref::<hyper::Error>());
        hyper.last().map(|cause| of_hyper(cause, stage))
    };
    precise
        .or_else(general)
        .unwrap_or_else(|| ErrorCode::InternalError(Some(chain(error))))
}

/// Whether an error has a code that this provider gave it.
pub(crate) fn is_told(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<Fault>())
}

/// Whether a server has begun nothing and may do so by the same connection at another time.
pub(crate) fn is_refused(error: &(dyn Error + 'static)) -> bool {
    let mut h2 = causes(error).filter_map(|cause| cause.downcast_ref::<h2::Error>());
    h2.any(is_refusal)
}

/// An error, its cause, the cause of that, and so on.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// The code of a cause that needs no further look.
fn precise(cause: &(dyn Error + 'static), stage: Stage) -> Option<ErrorCode> {
    if let Some(fault) = cause.downcast_ref::<Fault>() {
        return Some(fault.0.clone());
    }
    if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
        return Some(of_tls(tls));
    }
    if let Some(h2) = cause.downcast_ref::<h2::Error>()
        && stage == Stage::Head
        && is_put_off(h2)
    {
        return Some(ErrorCode::ConnectionTerminated);
    }
    let io = cause.downcast_ref::<io::Error>()?;
    if stage == Stage::Body && io.kind() == io::ErrorKind::UnexpectedEof {
        return Some(ErrorCode::HttpResponseIncomplete);
    }
    let inner = io.get_ref().and_then(|inner| of_inner(inner, stage));
    inner.or_else(|| of_io(io))
}

/// Whether a server leaves a request to another connection, or to another time: one that goes away as
/// planned says so, as does one that has begun nothing.
fn is_put_off(error: &h2::Error) -> bool {
    let goes_away = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    error.is_remote() && goes_away || is_refusal(error)
}

fn is_refusal(error: &h2::Error) -> bool {
    let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && is_refused
}

/// What an I/O error wraps is not among its causes.
fn of_inner(inner: &(dyn Error + Send + Sync + 'static), stage: Stage) -> Option<ErrorCode> {
    if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
        return Some(of_tls(tls));
    }
    if let Some(fault) = inner.downcast_ref::<Fault>() {
        return Some(fault.0.clone());
    }
    let io = inner.downcast_ref::<io::Error>();
    io.and_then(|io| precise(io, stage))
}

/// The code of a failure of the network, if its kind says enough.
pub(crate) fn of_io(error: &io::Error) -> Option<ErrorCode> {
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorCode::ConnectionRefused,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected
        | io::ErrorKind::UnexpectedEof => ErrorCode::ConnectionTerminated,
        io::ErrorKind::TimedOut => ErrorCode::ConnectionTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkDown => {
            ErrorCode::DestinationUnavailable
        }
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => {
            ErrorCode::DestinationIpUnroutable
        }
        io::ErrorKind::PermissionDenied => ErrorCode::DestinationIpProhibited,
        _ => return None,
    })
}

/// The code of a failure of TLS.
pub(crate) fn of_tls(error: &rustls::Error) -> ErrorCode {
    match error {
        rustls::Error::InvalidCertificate(_)
        | rustls::Error::NoCertificatesPresented
        | rustls::Error::UnsupportedNameType
        | rustls::Error::InvalidCertRevocationList(_) => ErrorCode::TlsCertificateError,
        rustls::Error::AlertReceived(alert) => ErrorCode::TlsAlertReceived {
            alert_id: Some(u8::from(*alert)),
            alert_message: alert.as_str().map(str::to_owned),
        },
        _ => ErrorCode::TlsProtocolError,
    }
}

fn of_hyper(error: &hyper::Error, stage: Stage) -> ErrorCode {
    if error.is_parse_too_large() {
        return ErrorCode::HttpResponseHeaderSectionSize(None);
    }
    if stage == Stage::Body && !error.is_parse() {
        return ErrorCode::HttpResponseIncomplete;
    }
    // No request is timed here: what was not answered in time is a ping, so the server is gone.
    let is_gone = error.is_timeout();
    if is_gone || error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return ErrorCode::ConnectionTerminated;
    }
    ErrorCode::HttpProtocolError
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::Request;
    use http_body_util::Empty;
    use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

    use super::*;

    fn wrapped(inner: impl Into<Box<dyn Error + Send + Sync>>) -> ErrorCode {
        code_of(&io::Error::other(inner), Stage::Head)
    }

    #[test]
    fn the_cause_is_found_below_what_wraps_it() {
        let fault = Fault(ErrorCode::DnsTimeout);
        assert_eq!(wrapped(fault.clone()), ErrorCode::DnsTimeout);
        assert_eq!(wrapped(io::Error::other(fault)), ErrorCode::DnsTimeout);
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        assert!(
            matches!(
                wrapped(io::Error::other(alert)),
                ErrorCode::TlsAlertReceived {
                    alert_id: Some(116),
                    ..
                }
            ),
            "the alert is told"
        );
        let bad = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert_eq!(wrapped(bad), ErrorCode::TlsCertificateError);
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(wrapped(reset), ErrorCode::ConnectionTerminated);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_answers_no_ping_has_ended_the_connection() {
        let (ours, _theirs) = tokio::io::duplex(64 * 1024);
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10));
        let opened = builder.handshake(TokioIo::new(ours)).await;
        let (mut sender, connection) = opened.unwrap();
        tokio::spawn(connection);
        let request = Request::get("http://a.example/").body(Empty::<Bytes>::new());
        let sent = sender.send_request(request.unwrap());
        let error = tokio::time::timeout(Duration::from_secs(60), sent).await;
        let error = error.unwrap().unwrap_err();
        assert_eq!(
            code_of(&error, Stage::Head),
            ErrorCode::ConnectionTerminated
        );
    }

    #[test]
    fn an_unknown_cause_is_told_in_words() {
        let told = wrapped("odd");
        assert_eq!(told, ErrorCode::InternalError(Some("odd".to_owned())));
    }
}
