//! The export of traces of one process.

use std::sync::OnceLock;
use std::time::Duration;

use lattice_core::provider::{LogLevel, OtelConfig};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanExporter as _};
use tokio_util::task::AbortOnDropHandle;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{DynFilterFn, LevelFilter};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

use crate::client::Client;
use crate::queue::{EXPORT_LIMIT, Queue};
use crate::sampler::Sampler;
use crate::settings::{TraceSettings, TracesError};
use crate::{TARGET, begin};

/// What the spans of this process go through, for [`flush`].
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// The target of lines of components, and of those that begin with it and `::`.
const GUESTS: &str = "guest";

/// Who the process is, for those who look at its spans.
#[derive(Debug, Clone, Copy)]
pub struct Service<'a> {
    /// What kind of process it is.
    pub name: &'a str,
    /// Which one of its kind.
    pub instance: &'a str,
    /// The lattice that it belongs to.
    pub lattice: &'a str,
}

/// The export of traces. Dropping it loses what has not been sent; see [`Traces::end`].
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    sampler: Sampler,
    level: LogLevel,
    queue: Queue,
    task: AbortOnDropHandle<()>,
}

impl Traces {
    /// Sets the export up as the settings say; `None` when they have traces off. Has to be called
    /// within a runtime, where the export then runs.
    ///
    /// # Errors
    ///
    /// [`TracesError`] when the settings make no sense. A collector that cannot be reached is no
    /// error: traces are lost then, and a warning says so once a minute.
    pub fn start(config: &OtelConfig, service: &Service<'_>) -> Result<Option<Self>, TracesError> {
        let Some(settings) = TraceSettings::read(config)? else {
            return Ok(None);
        };
        let endpoint = settings.endpoint.to_string();
        let resource = resource(service);
        let mut exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new(&settings)?)
            .with_endpoint(&endpoint)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(EXPORT_LIMIT)
            .build()
            .map_err(TracesError::Exporter)?;
        exporter.set_resource(&resource);
        let (queue, work) = Queue::new(settings.queue, exporter, endpoint);
        let provider = SdkTracerProvider::builder()
            .with_sampler(settings.sampler)
            .with_id_generator(crate::ids::Ids::default())
            .with_resource(resource)
            .with_span_processor(queue.clone())
            .build();
        Ok(Some(Self {
            provider,
            sampler: settings.sampler,
            level: settings.level,
            queue,
            task: AbortOnDropHandle::new(tokio::spawn(work)),
        }))
    }

    /// What takes spans up, to be made part of the process's subscriber: those that
    /// [`begin`](crate::begin) begins, and what happens inside them.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("lattice"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_filter(inside::<S>(level(self.level)))
    }

    /// Lets spans begin, once the [layer](Self::layer) is part of the subscriber.
    pub fn switch_on(&self) {
        QUEUE.get_or_init(|| self.queue.clone());
        begin::switch_on(self.sampler);
    }

    /// Exports what is left, for as long as `within` allows, and ends the export.
    pub async fn end(self, within: Duration) {
        begin::switch_off();
        if !self.queue.flush(within).await {
            tracing::debug!("did not export the last traces in time");
        }
        self.task.abort();
    }
}

/// Exports what this process has to export so far, for as long as `within` allows. Does nothing
/// where traces are off.
pub async fn flush(within: Duration) {
    if let Some(queue) = QUEUE.get().filter(|_| begin::is_on()) {
        queue.flush(within).await;
    }
}

/// What `OTEL_RESOURCE_ATTRIBUTES` says, under what the process knows of itself.
fn resource(service: &Service<'_>) -> Resource {
    let own = [
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", service.instance.to_owned()),
        KeyValue::new("lattice.name", service.lattice.to_owned()),
    ];
    Resource::builder()
        .with_service_name(service.name.to_owned())
        .with_attributes(own)
        .build()
}

/// What is part of a trace: spans that [`begin`](crate::begin) begins, and what happens inside them, up to
/// this level. Not what components log: their log is not exported, and they may log as much as they like.
fn inside<S>(level: LevelFilter) -> impl Filter<S> + Send + Sync + 'static + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let is_never =
        move |metadata: &Metadata<'_>| *metadata.level() > level || is_of_guests(metadata.target());
    let now = move |metadata: &Metadata<'_>, context: &Context<'_, S>| {
        let begun = metadata.is_span() && metadata.target() == TARGET;
        !is_never(metadata) && (begun || context.lookup_current().is_some())
    };
    let ever = move |metadata: &'static Metadata<'static>| {
        if is_never(metadata) {
            Interest::never()
        } else {
            Interest::sometimes()
        }
    };
    DynFilterFn::new(now)
        .with_max_level_hint(level)
        .with_callsite_filter(ever)
}

fn is_of_guests(target: &str) -> bool {
    let rest = target.strip_prefix(GUESTS);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Critical | LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing::Event;
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt as _;

    /// Remembers of which targets there were events.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<&'static str>>>);

    impl<S: Subscriber> Layer<S> for Seen {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().push(event.metadata().target());
        }
    }

    #[test]
    fn what_components_log_is_no_part_of_a_trace() {
        let seen = Seen::default();
        let layer = seen
            .clone()
            .with_filter(inside::<Registry>(LevelFilter::INFO));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "outside", "before");
            let span = tracing::info_span!(target: TARGET, "work");
            span.in_scope(|| {
                tracing::error!(target: "guest", "a line");
                tracing::info!(target: "guest::wanted", "a line that is asked for");
                tracing::info!(target: "guests", "something of the host");
                tracing::debug!(target: "inside", "below the level");
            });
        });
        assert_eq!(*seen.0.lock(), ["guests"]);
    }
}
