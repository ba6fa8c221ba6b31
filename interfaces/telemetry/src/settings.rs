//! What the settings of a host say of traces.

use std::path::PathBuf;

use http::Uri;
use lattice_core::provider::{LogLevel, OtelConfig, OtelProtocol};
use opentelemetry_otlp::ExporterBuildError;

use crate::sampler::{Sampler, SamplerError};

/// Why traces cannot be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TracesError {
    /// The sampler is none.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// The address of the collector is none.
    #[error("`{endpoint}` is no address to export traces to")]
    Endpoint {
        /// The address as given.
        endpoint: String,
    },
    /// A file of certificates cannot be read.
    #[error("could not read certificates from `{}`", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// TLS is not to be had.
    #[error("could not set up TLS for the export of traces")]
    Tls(#[source] rustls::Error),
    /// The exporter does not take its settings.
    #[error("could not set up the export of traces")]
    Exporter(#[source] ExporterBuildError),
}

impl TracesError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Sampler(error) => error.hint(),
            Self::Endpoint { .. } => {
                "write it as `http://localhost:4318/v1/traces`, for gRPC as `http://localhost:4317`"
            }
            Self::Certificates { .. } => "check the paths of `--tls-ca-path`: they name PEM files",
            Self::Tls(_) | Self::Exporter(_) => {
                "check the variables that begin with `OTEL_EXPORTER_OTLP_`"
            }
        }
    }
}

/// Where collectors listen by default, and the paths that OTLP has for traces.
const HTTP: &str = "http://localhost:4318";
const HTTP_PATH: &str = "/v1/traces";
const GRPC: &str = "http://localhost:4317";
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// How many spans may wait to be exported when nobody says otherwise: the default of OpenTelemetry.
const QUEUE: usize = 2048;
/// The longest queue: a span is about a kilobyte, and the queue has room for some larger ones.
const LONGEST_QUEUE: usize = 1 << 18;

/// The settings for traces, checked.
#[derive(Debug, Clone)]
pub struct TraceSettings {
    pub(crate) sampler: Sampler,
    pub(crate) endpoint: Uri,
    pub(crate) protocol: OtelProtocol,
    pub(crate) authorities: Vec<PathBuf>,
    pub(crate) level: LogLevel,
    pub(crate) queue: usize,
}

impl TraceSettings {
    /// Reads what a host was told, or has told its provider; `None` when traces are off.
    ///
    /// # Errors
    ///
    /// [`TracesError`] for what makes no sense.
    pub fn read(config: &OtelConfig) -> Result<Option<Self>, TracesError> {
        if !config.enable_traces.unwrap_or(config.enable_observability) {
            return Ok(None);
        }
        let (name, arg) = (&config.traces_sampler, &config.traces_sampler_arg);
        let queue = config
            .max_batch_queue_size
            .map_or(QUEUE, |size| usize::try_from(size).unwrap_or(LONGEST_QUEUE));
        Ok(Some(Self {
            sampler: Sampler::parse(name.as_deref(), arg.as_deref())?,
            endpoint: endpoint(config)?,
            protocol: config.protocol,
            authorities: config
                .additional_ca_paths
                .iter()
                .map(PathBuf::from)
                .collect(),
            level: config.trace_level,
            queue: queue.clamp(1, LONGEST_QUEUE),
        }))
    }
}

/// The address for traces as it is given, or that for all signals with the path for traces, as
/// 1.9 does. With gRPC the path is always that of the method.
fn endpoint(config: &OtelConfig) -> Result<Uri, TracesError> {
    let (default, path) = match config.protocol {
        OtelProtocol::Http => (HTTP, HTTP_PATH),
        OtelProtocol::Grpc => (GRPC, GRPC_PATH),
    };
    let common = config.observability_endpoint.as_deref().unwrap_or(default);
    let text = match &config.traces_endpoint {
        Some(own) if config.protocol == OtelProtocol::Http => own.clone(),
        own => {
            let base = own.as_deref().unwrap_or(common);
            format!("{}{path}", base.trim_end_matches('/'))
        }
    };
    let uri: Option<Uri> = text.parse().ok();
    let usable =
        |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some();
    uri.filter(usable)
        .ok_or(TracesError::Endpoint { endpoint: text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on() -> OtelConfig {
        OtelConfig {
            enable_observability: true,
            ..OtelConfig::default()
        }
    }

    fn endpoint_of(config: OtelConfig) -> String {
        let settings = TraceSettings::read(&config).unwrap().unwrap();
        settings.endpoint.to_string()
    }

    #[test]
    fn traces_are_on_when_all_signals_are_or_they_alone() {
        let read = |all, own| {
            let config = OtelConfig {
                enable_observability: all,
                enable_traces: own,
                ..OtelConfig::default()
            };
            TraceSettings::read(&config).unwrap().is_some()
        };
        assert!(!read(false, None));
        assert!(read(true, None));
        assert!(read(false, Some(true)));
        assert!(!read(true, Some(false)));
    }

    #[test]
    fn address_is_that_of_the_traces_or_follows_from_the_common_one() {
        let common = Some("http://c:1/".to_owned());
        let own = Some("https://t:2/mine".to_owned());
        assert_eq!(endpoint_of(on()), "http://localhost:4318/v1/traces");
        let all = OtelConfig {
            observability_endpoint: common,
            ..on()
        };
        assert_eq!(endpoint_of(all.clone()), "http://c:1/v1/traces");
        let traces = OtelConfig {
            traces_endpoint: own,
            ..all
        };
        assert_eq!(endpoint_of(traces), "https://t:2/mine");
        let grpc = OtelConfig {
            protocol: OtelProtocol::Grpc,
            ..on()
        };
        assert_eq!(endpoint_of(grpc), format!("{GRPC}{GRPC_PATH}"));
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for text in ["localhost:4318", "ftp://x/", "http//x", "/v1/traces"] {
            let config = OtelConfig {
                traces_endpoint: Some(text.to_owned()),
                ..on()
            };
            let error = TraceSettings::read(&config).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
            assert!(error.hint().contains("http://localhost:4318/v1/traces"));
        }
    }

    #[test]
    fn queue_has_bounds() {
        let queue = |size| {
            let config = OtelConfig {
                max_batch_queue_size: size,
                ..on()
            };
            TraceSettings::read(&config).unwrap().unwrap().queue
        };
        assert_eq!(queue(None), 2048);
        assert_eq!(queue(Some(0)), 1);
        assert_eq!(queue(Some(10)), 10);
        assert_eq!(queue(Some(u64::MAX)), LONGEST_QUEUE);
    }
}
