//! Trace context as text: the W3C headers `traceparent` and `tracestate`.

use std::str::FromStr as _;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// What a `traceparent` says. It comes from anywhere, and one that is malformed is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
    pub(crate) sampled: bool,
}

/// Where the parts are in `00-{32 digits}-{16 digits}-{2 digits}`.
const LEN: usize = 55;

impl Told {
    pub(crate) fn read(text: &str) -> Option<Self> {
        let version = digits(text, 0, 2)?;
        // Later versions may add parts at the end; version 0 has none, and 255 does not exist.
        let ends = match text.as_bytes().get(LEN) {
            None => true,
            Some(next) => version != "00" && *next == b'-',
        };
        let dashes = [2, 35, 52]
            .iter()
            .all(|at| text.as_bytes().get(*at) == Some(&b'-'));
        if version == "ff" || !ends || !dashes {
            return None;
        }
        let trace = TraceId::from_hex(digits(text, 3, 35)?).ok()?;
        let span = SpanId::from_hex(digits(text, 36, 52)?).ok()?;
        let flags = u8::from_str_radix(digits(text, 53, LEN)?, 16).ok()?;
        let valid = trace != TraceId::INVALID && span != SpanId::INVALID;
        valid.then_some(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
        })
    }

    /// The caller's span, as the SDK wants it.
    pub(crate) fn context(&self, tracestate: Option<&str>) -> SpanContext {
        let state = tracestate.and_then(|text| TraceState::from_str(text).ok());
        let flags = TraceFlags::default().with_sampled(self.sampled);
        SpanContext::new(
            self.trace,
            self.span,
            flags,
            true,
            state.unwrap_or_default(),
        )
    }

    /// Done for each trace that is not sampled, so by hand: what formats texts of any kind takes
    /// many times as long.
    pub(crate) fn write(&self) -> String {
        let mut text = String::with_capacity(LEN);
        text.push_str("00-");
        push_digits(&mut text, &self.trace.to_bytes());
        text.push('-');
        push_digits(&mut text, &self.span.to_bytes());
        text.push_str(if self.sampled { "-01" } else { "-00" });
        text
    }
}

fn push_digits(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from(DIGITS[usize::from(half)]));
        }
    }
}

/// Lower-case hexadecimal digits from `from` up to `to`.
fn digits(text: &str, from: usize, to: usize) -> Option<&str> {
    let part = text.get(from..to)?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    part.bytes().all(is_digit).then_some(part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn header_is_read() {
        let told = Told::read(TEXT).unwrap();
        assert_eq!(told.trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(told.span.to_string(), "b7ad6b7169203331");
        assert!(told.sampled);
        assert!(!Told::read(&TEXT.replace("-01", "-02")).unwrap().sampled);
        assert_eq!(told.write(), TEXT);
    }

    #[test]
    fn later_version_is_read_as_far_as_it_is_known() {
        let later = TEXT.replacen("00", "01", 1) + "-what-ever";
        assert_eq!(Told::read(&later), Told::read(TEXT));
    }

    #[test]
    fn malformed_header_is_none() {
        let zeros = "0".repeat(32);
        for text in [
            "",
            "00-1-2-01",
            &TEXT.to_uppercase(),
            &TEXT[..54],
            &format!("{TEXT}-more"),
            &TEXT.replacen("00", "ff", 1),
            &TEXT.replace("0af7651916cd43dd8448eb211c80319c", &zeros),
            &TEXT.replace("b7ad6b7169203331", &zeros[..16]),
            &TEXT.replace("b7ad6b7169203331", "+7ad6b7169203331"),
            &TEXT.replace("-b7", "_b7"),
        ] {
            assert_eq!(Told::read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace in 1_u128.., span in 1_u64.., sampled: bool) {
            let (trace, span) = (TraceId::from(trace), SpanId::from(span));
            let told = Told { trace, span, sampled };
            prop_assert_eq!(Told::read(&told.write()), Some(told));
        }

        #[test]
        fn nothing_panics(text in "\\PC*") {
            Told::read(&text);
        }
    }
}
