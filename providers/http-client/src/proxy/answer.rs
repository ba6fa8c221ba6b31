//! What a proxy answers to `CONNECT`.

use lattice_codec::http::ErrorCode;

/// What the answer means.
pub(crate) fn accepted(answer: &[u8]) -> Result<(), ErrorCode> {
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or(answer);
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (version, status) = (words.next().unwrap_or_default(), words.next());
    let status = status.and_then(|status| status.parse::<u16>().ok());
    match status {
        _ if !version.starts_with("HTTP/1.") => Err(ErrorCode::HttpProtocolError),
        Some(200..300) => Ok(()),
        Some(403) => Err(ErrorCode::HttpRequestDenied),
        Some(407) => Err(ErrorCode::ConfigurationError),
        Some(502..=503) => Err(ErrorCode::DestinationUnavailable),
        Some(504) => Err(ErrorCode::ConnectionTimeout),
        Some(status) => Err(refused(&format!("status {status}"))),
        None => Err(ErrorCode::HttpProtocolError),
    }
}

/// What is no error of its own.
pub(crate) fn refused(what: &str) -> ErrorCode {
    ErrorCode::InternalError(Some(format!("the proxy answered `CONNECT` with {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_proxy_answers_has_a_meaning() {
        let code = |line: &str| accepted(format!("{line}\r\n\r\n").as_bytes());
        assert_eq!(code("HTTP/1.1 200 OK"), Ok(()));
        assert_eq!(code("HTTP/1.0 200"), Ok(()));
        assert_eq!(code("HTTP/1.1 403 No"), Err(ErrorCode::HttpRequestDenied));
        assert_eq!(code("HTTP/1.1 407 No"), Err(ErrorCode::ConfigurationError));
        assert_eq!(code("SSH-2.0"), Err(ErrorCode::HttpProtocolError));
        assert!(code("HTTP/1.1 500 No").is_err());
    }
}
