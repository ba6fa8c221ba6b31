//! `error-code` of `wrpc:http/types@0.1.0`.

use std::fmt;

use bytes::{BufMut, BytesMut};

use crate::{DecodeError, Reader, write};

/// Which field was too large, and how large, as far as the peer says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSize {
    /// The name of the field.
    pub field_name: Option<String>,
    /// Its size in bytes.
    pub field_size: Option<u32>,
}

impl FieldSize {
    fn encode(&self, out: &mut BytesMut) {
        write::option(out, self.field_name.as_deref(), write::string);
        write::option(out, self.field_size, |out, v| write::uleb(out, v.into()));
    }

    fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            field_name: r.option(Reader::string)?,
            field_size: r.option(Reader::u32)?,
        })
    }
}

/// Why an HTTP exchange failed. The order of the cases is the wire order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorCode {
    /// `DNS-timeout`, case 0.
    DnsTimeout,
    /// `DNS-error`, case 1.
    DnsError {
        /// The response code.
        rcode: Option<String>,
        /// The extended error number.
        info_code: Option<u16>,
    },
    /// `destination-not-found`, case 2.
    DestinationNotFound,
    /// `destination-unavailable`, case 3.
    DestinationUnavailable,
    /// `destination-IP-prohibited`, case 4.
    DestinationIpProhibited,
    /// `destination-IP-unroutable`, case 5.
    DestinationIpUnroutable,
    /// `connection-refused`, case 6.
    ConnectionRefused,
    /// `connection-terminated`, case 7.
    ConnectionTerminated,
    /// `connection-timeout`, case 8.
    ConnectionTimeout,
    /// `connection-read-timeout`, case 9.
    ConnectionReadTimeout,
    /// `connection-write-timeout`, case 10.
    ConnectionWriteTimeout,
    /// `connection-limit-reached`, case 11.
    ConnectionLimitReached,
    /// `TLS-protocol-error`, case 12.
    TlsProtocolError,
    /// `TLS-certificate-error`, case 13.
    TlsCertificateError,
    /// `TLS-alert-received`, case 14.
    TlsAlertReceived {
        /// The alert number.
        alert_id: Option<u8>,
        /// The alert's text.
        alert_message: Option<String>,
    },
    /// `HTTP-request-denied`, case 15.
    HttpRequestDenied,
    /// `HTTP-request-length-required`, case 16.
    HttpRequestLengthRequired,
    /// `HTTP-request-body-size`, case 17.
    HttpRequestBodySize(Option<u64>),
    /// `HTTP-request-method-invalid`, case 18.
    HttpRequestMethodInvalid,
    /// `HTTP-request-URI-invalid`, case 19.
    HttpRequestUriInvalid,
    /// `HTTP-request-URI-too-long`, case 20.
    HttpRequestUriTooLong,
    /// `HTTP-request-header-section-size`, case 21.
    HttpRequestHeaderSectionSize(Option<u32>),
    /// `HTTP-request-header-size`, case 22.
    HttpRequestHeaderSize(Option<FieldSize>),
    /// `HTTP-request-trailer-section-size`, case 23.
    HttpRequestTrailerSectionSize(Option<u32>),
    /// `HTTP-request-trailer-size`, case 24.
    HttpRequestTrailerSize(FieldSize),
    /// `HTTP-response-incomplete`, case 25.
    HttpResponseIncomplete,
    /// `HTTP-response-header-section-size`, case 26.
    HttpResponseHeaderSectionSize(Option<u32>),
    /// `HTTP-response-header-size`, case 27.
    HttpResponseHeaderSize(FieldSize),
    /// `HTTP-response-body-size`, case 28.
    HttpResponseBodySize(Option<u64>),
    /// `HTTP-response-trailer-section-size`, case 29.
    HttpResponseTrailerSectionSize(Option<u32>),
    /// `HTTP-response-trailer-size`, case 30.
    HttpResponseTrailerSize(FieldSize),
    /// `HTTP-response-transfer-coding`, case 31.
    HttpResponseTransferCoding(Option<String>),
    /// `HTTP-response-content-coding`, case 32.
    HttpResponseContentCoding(Option<String>),
    /// `HTTP-response-timeout`, case 33.
    HttpResponseTimeout,
    /// `HTTP-upgrade-failed`, case 34.
    HttpUpgradeFailed,
    /// `HTTP-protocol-error`, case 35.
    HttpProtocolError,
    /// `loop-detected`, case 36.
    LoopDetected,
    /// `configuration-error`, case 37.
    ConfigurationError,
    /// `internal-error`, case 38.
    InternalError(Option<String>),
}

fn case(out: &mut BytesMut, case: u8) {
    out.put_u8(case);
}

impl ErrorCode {
    /// How many cases there are.
    pub const CASES: u32 = 39;

    /// Appends the variant.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::DnsTimeout => case(out, 0),
            Self::DnsError { rcode, info_code } => {
                case(out, 1);
                write::option(out, rcode.as_deref(), write::string);
                write::option(out, *info_code, |out, v| write::uleb(out, v.into()));
            }
            Self::DestinationNotFound => case(out, 2),
            Self::DestinationUnavailable => case(out, 3),
            Self::DestinationIpProhibited => case(out, 4),
            Self::DestinationIpUnroutable => case(out, 5),
            Self::ConnectionRefused => case(out, 6),
            Self::ConnectionTerminated => case(out, 7),
            Self::ConnectionTimeout => case(out, 8),
            Self::ConnectionReadTimeout => case(out, 9),
            Self::ConnectionWriteTimeout => case(out, 10),
            Self::ConnectionLimitReached => case(out, 11),
            Self::TlsProtocolError => case(out, 12),
            Self::TlsCertificateError => case(out, 13),
            Self::TlsAlertReceived {
                alert_id,
                alert_message,
            } => {
                case(out, 14);
                write::option(out, *alert_id, |out, v| out.put_u8(v));
                write::option(out, alert_message.as_deref(), write::string);
            }
            Self::HttpRequestDenied => case(out, 15),
            Self::HttpRequestLengthRequired => case(out, 16),
            Self::HttpRequestBodySize(v) => {
                case(out, 17);
                write::option(out, *v, write::uleb);
            }
            Self::HttpRequestMethodInvalid => case(out, 18),
            Self::HttpRequestUriInvalid => case(out, 19),
            Self::HttpRequestUriTooLong => case(out, 20),
            Self::HttpRequestHeaderSectionSize(v) => {
                case(out, 21);
                write::option(out, *v, |out, v| write::uleb(out, v.into()));
            }
            Self::HttpRequestHeaderSize(v) => {
                case(out, 22);
                write::option(out, v.as_ref(), |out, v| v.encode(out));
            }
            Self::HttpRequestTrailerSectionSize(v) => {
                case(out, 23);
                write::option(out, *v, |out, v| write::uleb(out, v.into()));
            }
            Self::HttpRequestTrailerSize(v) => {
                case(out, 24);
                v.encode(out);
            }
            Self::HttpResponseIncomplete => case(out, 25),
            Self::HttpResponseHeaderSectionSize(v) => {
                case(out, 26);
                write::option(out, *v, |out, v| write::uleb(out, v.into()));
            }
            Self::HttpResponseHeaderSize(v) => {
                case(out, 27);
                v.encode(out);
            }
            Self::HttpResponseBodySize(v) => {
                case(out, 28);
                write::option(out, *v, write::uleb);
            }
            Self::HttpResponseTrailerSectionSize(v) => {
                case(out, 29);
                write::option(out, *v, |out, v| write::uleb(out, v.into()));
            }
            Self::HttpResponseTrailerSize(v) => {
                case(out, 30);
                v.encode(out);
            }
            Self::HttpResponseTransferCoding(v) => {
                case(out, 31);
                write::option(out, v.as_deref(), write::string);
            }
            Self::HttpResponseContentCoding(v) => {
                case(out, 32);
                write::option(out, v.as_deref(), write::string);
            }
            Self::HttpResponseTimeout => case(out, 33),
            Self::HttpUpgradeFailed => case(out, 34),
            Self::HttpProtocolError => case(out, 35),
            Self::LoopDetected => case(out, 36),
            Self::ConfigurationError => case(out, 37),
            Self::InternalError(v) => {
                case(out, 38);
                write::option(out, v.as_deref(), write::string);
            }
        }
    }

    /// Reads the variant.
    ///
    /// # Errors
    ///
    /// [`DecodeError::InvalidCase`] for an unknown case; otherwise as [`Reader`].
    pub fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        let case = r.case("error-code", Self::CASES)?;
        Ok(match case {
            0 => Self::DnsTimeout,
            1 => Self::DnsError {
                rcode: r.option(Reader::string)?,
                info_code: r.option(Reader::u16)?,
            },
            2 => Self::DestinationNotFound,
            3 => Self::DestinationUnavailable,
            4 => Self::DestinationIpProhibited,
            5 => Self::DestinationIpUnroutable,
            6 => Self::ConnectionRefused,
            7 => Self::ConnectionTerminated,
            8 => Self::ConnectionTimeout,
            9 => Self::ConnectionReadTimeout,
            10 => Self::ConnectionWriteTimeout,
            11 => Self::ConnectionLimitReached,
            12 => Self::TlsProtocolError,
            13 => Self::TlsCertificateError,
            14 => Self::TlsAlertReceived {
                alert_id: r.option(Reader::u8)?,
                alert_message: r.option(Reader::string)?,
            },
            15 => Self::HttpRequestDenied,
            16 => Self::HttpRequestLengthRequired,
            17 => Self::HttpRequestBodySize(r.option(Reader::u64)?),
            18 => Self::HttpRequestMethodInvalid,
            19 => Self::HttpRequestUriInvalid,
            20 => Self::HttpRequestUriTooLong,
            21 => Self::HttpRequestHeaderSectionSize(r.option(Reader::u32)?),
            22 => Self::HttpRequestHeaderSize(r.option(FieldSize::decode)?),
            23 => Self::HttpRequestTrailerSectionSize(r.option(Reader::u32)?),
            24 => Self::HttpRequestTrailerSize(FieldSize::decode(r)?),
            25 => Self::HttpResponseIncomplete,
            26 => Self::HttpResponseHeaderSectionSize(r.option(Reader::u32)?),
            27 => Self::HttpResponseHeaderSize(FieldSize::decode(r)?),
            28 => Self::HttpResponseBodySize(r.option(Reader::u64)?),
            29 => Self::HttpResponseTrailerSectionSize(r.option(Reader::u32)?),
            30 => Self::HttpResponseTrailerSize(FieldSize::decode(r)?),
            31 => Self::HttpResponseTransferCoding(r.option(Reader::string)?),
            32 => Self::HttpResponseContentCoding(r.option(Reader::string)?),
            33 => Self::HttpResponseTimeout,
            34 => Self::HttpUpgradeFailed,
            35 => Self::HttpProtocolError,
            36 => Self::LoopDetected,
            37 => Self::ConfigurationError,
            38 => Self::InternalError(r.option(Reader::string)?),
            // `case` has checked the number against the count of cases.
            _ => {
                return Err(DecodeError::InvalidCase {
                    what: "error-code",
                    case,
                    cases: Self::CASES,
                });
            }
        })
    }

    /// The case that a text names, with what follows a colon as its text where it has one: what
    /// [`Display`](fmt::Display) makes of a case, but for what it leaves out. So a code comes
    /// through where only words do, as in the middle of a body.
    pub fn named(text: &str) -> Option<Self> {
        let (name, rest) = match text.split_once(": ") {
            Some((name, rest)) => (name, Some(rest.to_owned())),
            None => (text, None),
        };
        let code = (0..Self::CASES).find_map(|case| {
            let mut raw = BytesMut::new();
            write::uleb(&mut raw, case.into());
            // Nothing for what is optional in it.
            raw.put_slice(&[0, 0]);
            let code = Self::decode(&mut Reader::new(raw.freeze())).ok()?;
            (code.name() == name).then_some(code)
        })?;
        match (code, rest) {
            (code, None) => Some(code),
            (Self::InternalError(_), text) => Some(Self::InternalError(text)),
            (Self::DnsError { .. }, rcode) => Some(Self::DnsError {
                rcode,
                info_code: None,
            }),
            _ => None,
        }
    }

    /// The name of the case as WIT spells it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::DnsTimeout => "DNS-timeout",
            Self::DnsError { .. } => "DNS-error",
            Self::DestinationNotFound => "destination-not-found",
            Self::DestinationUnavailable => "destination-unavailable",
            Self::DestinationIpProhibited => "destination-IP-prohibited",
            Self::DestinationIpUnroutable => "destination-IP-unroutable",
            Self::ConnectionRefused => "connection-refused",
            Self::ConnectionTerminated => "connection-terminated",
            Self::ConnectionTimeout => "connection-timeout",
            Self::ConnectionReadTimeout => "connection-read-timeout",
            Self::ConnectionWriteTimeout => "connection-write-timeout",
            Self::ConnectionLimitReached => "connection-limit-reached",
            Self::TlsProtocolError => "TLS-protocol-error",
            Self::TlsCertificateError => "TLS-certificate-error",
            Self::TlsAlertReceived { .. } => "TLS-alert-received",
            Self::HttpRequestDenied => "HTTP-request-denied",
            Self::HttpRequestLengthRequired => "HTTP-request-length-required",
            Self::HttpRequestBodySize(_) => "HTTP-request-body-size",
            Self::HttpRequestMethodInvalid => "HTTP-request-method-invalid",
            Self::HttpRequestUriInvalid => "HTTP-request-URI-invalid",
            Self::HttpRequestUriTooLong => "HTTP-request-URI-too-long",
            Self::HttpRequestHeaderSectionSize(_) => "HTTP-request-header-section-size",
            Self::HttpRequestHeaderSize(_) => "HTTP-request-header-size",
            Self::HttpRequestTrailerSectionSize(_) => "HTTP-request-trailer-section-size",
            Self::HttpRequestTrailerSize(_) => "HTTP-request-trailer-size",
            Self::HttpResponseIncomplete => "HTTP-response-incomplete",
            Self::HttpResponseHeaderSectionSize(_) => "HTTP-response-header-section-size",
            Self::HttpResponseHeaderSize(_) => "HTTP-response-header-size",
            Self::HttpResponseBodySize(_) => "HTTP-response-body-size",
            Self::HttpResponseTrailerSectionSize(_) => "HTTP-response-trailer-section-size",
            Self::HttpResponseTrailerSize(_) => "HTTP-response-trailer-size",
            Self::HttpResponseTransferCoding(_) => "HTTP-response-transfer-coding",
            Self::HttpResponseContentCoding(_) => "HTTP-response-content-coding",
            Self::HttpResponseTimeout => "HTTP-response-timeout",
            Self::HttpUpgradeFailed => "HTTP-upgrade-failed",
            Self::HttpProtocolError => "HTTP-protocol-error",
            Self::LoopDetected => "loop-detected",
            Self::ConfigurationError => "configuration-error",
            Self::InternalError(_) => "internal-error",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::InternalError(Some(text)) => write!(f, ": {text}"),
            Self::DnsError {
                rcode: Some(text), ..
            } => write!(f, ": {text}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_found_by_its_words() {
        for code in [
            ErrorCode::ConnectionReadTimeout,
            ErrorCode::HttpResponseBodySize(None),
            ErrorCode::InternalError(Some("a: b".to_owned())),
            ErrorCode::DnsError {
                rcode: Some("NXDOMAIN".to_owned()),
                info_code: None,
            },
        ] {
            assert_eq!(ErrorCode::named(&code.to_string()), Some(code));
        }
        for text in ["", "connection", "connection-refused: x", "broke off: x"] {
            assert_eq!(ErrorCode::named(text), None, "{text}");
        }
    }

    #[test]
    fn every_case_survives() {
        for case in 0..ErrorCode::CASES {
            // Each case followed by absent optionals decodes; what it encodes to decodes again.
            let mut raw = BytesMut::new();
            write::uleb(&mut raw, case.into());
            raw.put_slice(&[0, 0]);
            let code = ErrorCode::decode(&mut Reader::new(raw.freeze())).unwrap();
            let mut out = BytesMut::new();
            code.encode(&mut out);
            let mut r = Reader::new(out.freeze());
            assert_eq!(ErrorCode::decode(&mut r).unwrap(), code);
            r.finish().unwrap();
        }
    }
}
