//! When a request is sent again.

mod after;

use std::time::Duration;

use http::{Method, StatusCode};
use lattice_codec::http::ErrorCode;
use lattice_provider_sdk::{Backoff, InvalidSetting, Settings};
use tokio::time::Instant;

pub(crate) use after::asked_pause;

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The most attempts after the first.
const MOST: u32 = 10;

/// How often a request is sent again, and after what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RetryPolicy {
    pub(crate) retries: u32,
    first_pause: Duration,
    connect: bool,
    reset: bool,
    timeout: bool,
    statuses: Vec<u16>,
}

impl RetryPolicy {
    pub(crate) fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        let first_pause = Duration::from_millis(100);
        let mut policy = Self {
            retries: settings.number("retries", 0, 0..=MOST)?,
            first_pause: settings.millis("retry_backoff_ms", first_pause, 1..=10_000)?,
            connect: false,
            reset: false,
            timeout: false,
            statuses: Vec::new(),
        };
        let mut causes = settings.list("retry_on");
        if causes.is_empty() {
            causes = vec!["connect", "reset"];
        }
        for cause in causes {
            policy.add(cause)?;
        }
        Ok(policy)
    }

    fn add(&mut self, cause: &str) -> Result<(), InvalidSetting> {
        match cause.to_ascii_lowercase().as_str() {
            "connect" => self.connect = true,
            "reset" => self.reset = true,
            "timeout" => self.timeout = true,
            status => match status.parse() {
                Ok(status @ 400..600) => self.statuses.push(status),
                _ => {
                    return Err(InvalidSetting::Value {
                        key: "retry_on".to_owned(),
                        value: cause.chars().take(120).collect(),
                        expected: "`connect`, `reset`, `timeout` or a status from 400 to 599"
                            .to_owned(),
                    });
                }
            },
        }
        Ok(())
    }

    /// How often a request of this kind may be sent again.
    pub(crate) fn for_method(&self, method: &Method) -> u32 {
        if method.is_idempotent() {
            self.retries
        } else {
            0
        }
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.first_pause, LONGEST_PAUSE)
    }

    /// Whether another attempt may help after this failure.
    pub(crate) fn takes_error(&self, code: &ErrorCode) -> bool {
        match code {
            ErrorCode::DnsTimeout
            | ErrorCode::DnsError { .. }
            | ErrorCode::DestinationUnavailable
            | ErrorCode::DestinationIpUnroutable
            | ErrorCode::ConnectionRefused
            | ErrorCode::ConnectionTimeout => self.connect,
            ErrorCode::ConnectionTerminated => self.reset,
            ErrorCode::ConnectionReadTimeout | ErrorCode::HttpResponseTimeout => self.timeout,
            _ => false,
        }
    }

    pub(crate) fn takes_status(&self, status: StatusCode) -> bool {
        self.statuses.contains(&status.as_u16())
    }
}

/// Whether a pause that begins now, of whatever length, ends before the deadline.
pub(crate) fn ends_before(pause: Duration, deadline: Instant) -> bool {
    let end = Instant::now().checked_add(pause);
    end.is_some_and(|end| end < deadline)
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::HeaderMap;
    use http::header::RETRY_AFTER;

    fn policy(texts: &[(&str, &str)]) -> RetryPolicy {
        RetryPolicy::read(&Settings::from_texts(texts.iter().copied(), [])).unwrap()
    }

    #[test]
    fn only_idempotent_methods_are_repeated() {
        let policy = policy(&[("retries", "3")]);
        assert_eq!(policy.for_method(&Method::GET), 3);
        assert_eq!(policy.for_method(&Method::PUT), 3);
        assert_eq!(policy.for_method(&Method::POST), 0);
        assert_eq!(policy.for_method(&Method::PATCH), 0);
    }

    #[test]
    fn only_listed_causes_count() {
        let usual = policy(&[]);
        assert!(usual.takes_error(&ErrorCode::ConnectionRefused));
        assert!(usual.takes_error(&ErrorCode::DestinationIpUnroutable));
        assert!(usual.takes_error(&ErrorCode::ConnectionTerminated));
        assert!(!usual.takes_error(&ErrorCode::ConnectionReadTimeout));
        assert!(!usual.takes_status(StatusCode::SERVICE_UNAVAILABLE));
        let own = policy(&[("retry_on", "timeout, 503")]);
        assert!(own.takes_error(&ErrorCode::ConnectionReadTimeout));
        assert!(!own.takes_error(&ErrorCode::ConnectionRefused));
        assert!(own.takes_status(StatusCode::SERVICE_UNAVAILABLE));
        assert!(!own.takes_error(&ErrorCode::TlsCertificateError));
    }

    #[test]
    fn a_pause_without_end_is_too_long() {
        let asked = |text: &'static str| {
            let value = http::HeaderValue::from_static(text);
            asked_pause(&HeaderMap::from_iter([(RETRY_AFTER, value)]))
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        assert!(ends_before(asked(" 1 ").unwrap(), deadline));
        assert!(!ends_before(asked("61").unwrap(), deadline));
        let longest = asked("18446744073709551615").unwrap();
        assert!(!ends_before(longest, deadline));
        assert_eq!(asked("18446744073709551616"), None);
    }
}
