//! Which traces are exported: `OTEL_TRACES_SAMPLER` and its argument.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

/// Why a sampler is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplerError {
    /// No sampler has this name.
    #[error("`OTEL_TRACES_SAMPLER` names the unknown sampler `{name}`")]
    Name {
        /// The name as given.
        name: String,
    },
    /// The share is no number from 0 to 1.
    #[error("`OTEL_TRACES_SAMPLER_ARG` is `{text}`, which is no number from 0 to 1")]
    Ratio {
        /// The argument as given.
        text: String,
    },
}

impl SamplerError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Name { .. } => {
                "use always_on, always_off, traceidratio, parentbased_always_on, \
                 parentbased_always_off or parentbased_traceidratio"
            }
            Self::Ratio { .. } => "write one trace in a hundred as 0.01",
        }
    }
}

/// Decides which traces are exported.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Whether whoever began the trace has decided for everybody.
    by_parent: bool,
    root: Root,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Root {
    All,
    None,
    /// A trace whose id, by its lower 63 bits, is below this. All SDKs decide so, and so all who
    /// see a trace decide alike.
    Below(u64),
}

impl Default for Sampler {
    /// All traces, but for those whose caller said no: the default of OpenTelemetry.
    fn default() -> Self {
        Self {
            by_parent: true,
            root: Root::All,
        }
    }
}

impl Sampler {
    /// Reads the name of a sampler and its argument, as OpenTelemetry defines them. An argument of
    /// a sampler that takes none is ignored.
    ///
    /// # Errors
    ///
    /// [`SamplerError`] for an unknown name or a share that is none.
    pub fn parse(name: Option<&str>, arg: Option<&str>) -> Result<Self, SamplerError> {
        let filled = |text: Option<&str>| {
            let text = text.map(str::trim).filter(|text| !text.is_empty());
            text.map(str::to_owned)
        };
        let Some(name) = filled(name) else {
            return Ok(Self::default());
        };
        let (by_parent, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name.as_str()),
        };
        let root = match root {
            "always_on" => Root::All,
            "always_off" => Root::None,
            "traceidratio" => ratio(filled(arg))?,
            _ => return Err(SamplerError::Name { name }),
        };
        Ok(Self { by_parent, root })
    }

    /// Whether a trace is exported, of which the caller says whether it is sampled.
    #[must_use]
    pub(crate) fn decide(&self, parent: Option<bool>, trace: TraceId) -> bool {
        match (parent, self.root) {
            (Some(sampled), _) if self.by_parent => sampled,
            (_, Root::All) => true,
            (_, Root::None) => false,
            (_, Root::Below(bound)) => lower_bits(trace) < bound,
        }
    }
}

fn lower_bits(trace: TraceId) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = trace.to_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1
}

fn ratio(text: Option<String>) -> Result<Root, SamplerError> {
    let Some(text) = text else {
        return Ok(Root::All);
    };
    match text.parse::<f64>() {
        Ok(1.0) => Ok(Root::All),
        Ok(share) if (0.0..1.0).contains(&share) => {
            Ok(Root::Below((share * (1_u64 << 63) as f64) as u64))
        }
        _ => Err(SamplerError::Ratio { text }),
    }
}

/// For spans that other code makes inside ours; [`begin`](crate::begin) has decided before.
impl ShouldSample for Sampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let span = parent.map(|context| context.span());
        let parent = span.as_ref().map(|span| span.span_context());
        let parent = parent.filter(|context| context.is_valid());
        let sampled = self.decide(parent.map(|context| context.is_sampled()), trace);
        SamplingResult {
            decision: if sampled {
                SamplingDecision::RecordAndSample
            } else {
                SamplingDecision::Drop
            },
            attributes: Vec::new(),
            trace_state: parent
                .map(|context| context.trace_state().clone())
                .unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: TraceId = TraceId::from_bytes([1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    const HIGH: TraceId = TraceId::from_bytes([1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0]);

    fn sampler(name: &str, arg: &str) -> Sampler {
        Sampler::parse(Some(name), Some(arg)).unwrap()
    }

    #[test]
    fn what_is_not_set_is_the_default() {
        assert_eq!(Sampler::parse(None, Some("0.5")), Ok(Sampler::default()));
        assert_eq!(Sampler::parse(Some(" "), None), Ok(Sampler::default()));
        assert!(Sampler::default().decide(None, HIGH));
        assert!(!Sampler::default().decide(Some(false), LOW));
    }

    #[test]
    fn always_on_and_off_ask_nobody() {
        for parent in [None, Some(true), Some(false)] {
            assert!(sampler("always_on", "").decide(parent, HIGH));
            assert!(!sampler("always_off", "").decide(parent, LOW));
        }
    }

    #[test]
    fn parent_decides_where_there_is_one() {
        for name in ["always_on", "always_off", "traceidratio"] {
            let sampler = sampler(&format!("parentbased_{name}"), "0.01");
            assert!(sampler.decide(Some(true), HIGH), "{name}");
            assert!(!sampler.decide(Some(false), LOW), "{name}");
        }
        assert!(sampler("parentbased_always_on", "").decide(None, HIGH));
        assert!(!sampler("parentbased_always_off", "").decide(None, LOW));
    }

    #[test]
    fn share_is_taken_by_the_trace_id() {
        for name in ["traceidratio", "parentbased_traceidratio"] {
            let sampler = sampler(name, "0.01");
            assert!(sampler.decide(None, LOW));
            assert!(!sampler.decide(None, HIGH));
        }
        assert!(!sampler("traceidratio", "0.01").decide(Some(true), HIGH));
        assert!(!sampler("traceidratio", "0").decide(None, TraceId::from(1_u128 << 64)));
        assert!(sampler("traceidratio", "1").decide(None, HIGH));
        assert!(
            Sampler::parse(Some("traceidratio"), None)
                .unwrap()
                .decide(None, HIGH)
        );
    }

    #[test]
    fn share_is_that_of_the_sdk() {
        use opentelemetry_sdk::trace::Sampler as Theirs;
        let ours = sampler("traceidratio", "0.3");
        let theirs = Theirs::TraceIdRatioBased(0.3);
        for step in 0..100_u64 {
            let id = TraceId::from((1_u128 << 100) | u128::from(step * (u64::MAX / 100)));
            let result = theirs.should_sample(None, id, "", &SpanKind::Internal, &[], &[]);
            let sampled = result.decision == SamplingDecision::RecordAndSample;
            assert_eq!(ours.decide(None, id), sampled, "{id}");
        }
    }

    #[test]
    fn unknown_names_and_shares_are_refused_by_name() {
        for name in [
            "always",
            "parentbased_",
            "parentbased_jaeger_remote",
            "ALWAYS_ON",
        ] {
            let error = Sampler::parse(Some(name), None).unwrap_err();
            assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
            assert!(error.hint().contains("parentbased_traceidratio"));
        }
        for share in ["1%", "-0.1", "1.1", "NaN", "inf"] {
            let error = Sampler::parse(Some("traceidratio"), Some(share)).unwrap_err();
            assert!(error.to_string().contains(&format!("`{share}`")), "{error}");
            assert!(error.hint().contains("0.01"));
        }
    }
}
