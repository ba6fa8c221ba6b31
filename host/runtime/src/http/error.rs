//! `error-code` on both sides: as the engine's HTTP implementation has it, and as it travels.

use lattice_codec::http::{ErrorCode, FieldSize};
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode as GuestCode;

macro_rules! same {
    (units: $($unit:ident)*; values: $($value:ident)*;) => {
        fn plain_to_wire(error: Error) -> Result<ErrorCode, Error> {
            Ok(match error {
                $(Error::$unit => ErrorCode::$unit,)*
                $(Error::$value(value) => ErrorCode::$value(value),)*
                other => return Err(other),
            })
        }

        fn plain_to_guest(error: &Error) -> Option<GuestCode> {
            Some(match error {
                $(Error::$unit => GuestCode::$unit,)*
                $(Error::$value(value) => GuestCode::$value(value.clone()),)*
                _ => return None,
            })
        }

        fn plain_from_wire(code: ErrorCode) -> Result<Error, ErrorCode> {
            Ok(match code {
                $(ErrorCode::$unit => Error::$unit,)*
                $(ErrorCode::$value(value) => Error::$value(value),)*
                other => return Err(other),
            })
        }
    };
}

same! {
    units:
        DnsTimeout DestinationNotFound DestinationUnavailable DestinationIpProhibited
        DestinationIpUnroutable ConnectionRefused ConnectionTerminated ConnectionTimeout
        ConnectionReadTimeout ConnectionWriteTimeout ConnectionLimitReached TlsProtocolError
        TlsCertificateError HttpRequestDenied HttpRequestLengthRequired
        HttpRequestMethodInvalid HttpRequestUriInvalid HttpRequestUriTooLong
        HttpResponseIncomplete HttpResponseTimeout HttpUpgradeFailed HttpProtocolError
        LoopDetected ConfigurationError;
    values:
        HttpRequestBodySize HttpRequestHeaderSectionSize HttpRequestTrailerSectionSize
        HttpResponseHeaderSectionSize HttpResponseBodySize HttpResponseTrailerSectionSize
        HttpResponseTransferCoding HttpResponseContentCoding InternalError;
}

/// The code that travels for an error of the engine's HTTP implementation.
pub(crate) fn to_wire(error: Error) -> ErrorCode {
    let size = |field_name, field_size| FieldSize {
        field_name,
        field_size,
    };
    match plain_to_wire(error) {
        Ok(code) => code,
        Err(Error::DnsError { rcode, info_code }) => ErrorCode::DnsError { rcode, info_code },
        Err(Error::TlsAlertReceived {
            alert_id,
            alert_message,
        }) => ErrorCode::TlsAlertReceived {
            alert_id,
            alert_message,
        },
        Err(Error::HttpRequestHeaderSize {
            field_name: None,
            field_size: None,
        }) => ErrorCode::HttpRequestHeaderSize(None),
        Err(Error::HttpRequestHeaderSize {
            field_name,
            field_size,
        }) => ErrorCode::HttpRequestHeaderSize(Some(size(field_name, field_size))),
        Err(Error::HttpRequestTrailerSize {
            field_name,
            field_size,
        }) => ErrorCode::HttpRequestTrailerSize(size(field_name, field_size)),
        Err(Error::HttpResponseHeaderSize {
            field_name,
            field_size,
        }) => ErrorCode::HttpResponseHeaderSize(size(field_name, field_size)),
        Err(Error::HttpResponseTrailerSize {
            field_name,
            field_size,
        }) => ErrorCode::HttpResponseTrailerSize(size(field_name, field_size)),
        Err(other) => ErrorCode::InternalError(Some(other.to_string())),
    }
}

/// The engine's error for a code that arrived.
pub(crate) fn from_wire(code: ErrorCode) -> Error {
    match plain_from_wire(code) {
        Ok(error) => error,
        Err(ErrorCode::DnsError { rcode, info_code }) => Error::DnsError { rcode, info_code },
        Err(ErrorCode::TlsAlertReceived {
            alert_id,
            alert_message,
        }) => Error::TlsAlertReceived {
            alert_id,
            alert_message,
        },
        Err(ErrorCode::HttpRequestHeaderSize(size)) => {
            let FieldSize {
                field_name,
                field_size,
            } = size.unwrap_or_default();
            Error::HttpRequestHeaderSize {
                field_name,
                field_size,
            }
        }
        Err(ErrorCode::HttpRequestTrailerSize(FieldSize {
            field_name,
            field_size,
        })) => Error::HttpRequestTrailerSize {
            field_name,
            field_size,
        },
        Err(ErrorCode::HttpResponseHeaderSize(FieldSize {
            field_name,
            field_size,
        })) => Error::HttpResponseHeaderSize {
            field_name,
            field_size,
        },
        Err(ErrorCode::HttpResponseTrailerSize(FieldSize {
            field_name,
            field_size,
        })) => Error::HttpResponseTrailerSize {
            field_name,
            field_size,
        },
        Err(other) => Error::InternalError(Some(other.to_string())),
    }
}

/// What a guest is told that asks why a body broke off. The other cases are of heads only.
pub(crate) fn body_code(error: &Error) -> GuestCode {
    let told = || GuestCode::InternalError(Some(error.to_string()));
    plain_to_guest(error).unwrap_or_else(told)
}

/// The code that travels for the error that a guest answered with.
pub(crate) fn guest_to_wire(code: GuestCode) -> ErrorCode {
    match code {
        // The engine's own conversion takes this one for its counterpart of requests.
        GuestCode::HttpResponseHeaderSize(size) => ErrorCode::HttpResponseHeaderSize(FieldSize {
            field_name: size.field_name,
            field_size: size.field_size,
        }),
        other => to_wire(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_broke_off_has_a_code() {
        let code = |error| format!("{:?}", body_code(&error));
        let slow = code(Error::ConnectionReadTimeout);
        assert!(slow.contains("ConnectionReadTimeout"), "{slow}");
        let long = code(Error::HttpResponseBodySize(Some(9)));
        assert!(long.contains("HttpResponseBodySize(Some(9))"), "{long}");
    }

    #[test]
    fn codes_survive_the_round_trip() {
        let size = FieldSize {
            field_name: Some("a".to_owned()),
            field_size: Some(7),
        };
        for code in [
            ErrorCode::DnsTimeout,
            ErrorCode::DnsError {
                rcode: Some("x".to_owned()),
                info_code: Some(3),
            },
            ErrorCode::TlsAlertReceived {
                alert_id: Some(1),
                alert_message: None,
            },
            ErrorCode::HttpRequestHeaderSize(None),
            ErrorCode::HttpRequestHeaderSize(Some(size.clone())),
            ErrorCode::HttpRequestTrailerSize(size.clone()),
            ErrorCode::HttpResponseHeaderSize(size.clone()),
            ErrorCode::HttpResponseTrailerSize(size),
            ErrorCode::HttpResponseBodySize(Some(9)),
            ErrorCode::InternalError(Some("why".to_owned())),
            ErrorCode::ConfigurationError,
        ] {
            assert_eq!(to_wire(from_wire(code.clone())), code);
        }
    }
}
