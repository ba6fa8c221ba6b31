//! From ended spans to the collector: a bounded queue and the task that empties it.
//!
//! The SDK's own queue runs on a thread that cannot drive an async client, and blocks whoever ends
//! it. This one is a task of the process's runtime, and everything about it has a deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::{Array, Context, KeyValue, Value};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

/// How many spans are exported at once, and how long one waits for others: the collector gets few
/// requests, and who looks for a trace finds it soon.
const BATCH: usize = 512;
/// How many bytes a batch has before it waits for no others, and how many a span may have: together less
/// than the 4 MiB that collectors take at once.
const BATCH_BYTES: usize = 1 << 20;
/// How many bytes the spans in the queue may have on average, if they are more than one batch.
const SPAN_BYTES: usize = 4 << 10;
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How long an export may take, attempts that are repeated included.
pub(crate) const EXPORT_LIMIT: Duration = Duration::from_secs(10);
/// How often it is said, at most, that traces are lost.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

enum Message {
    Span(Box<Weighed>),
    /// Wishes to know when all spans before it are exported or given up.
    Flush(oneshot::Sender<()>),
}

/// A span, and about how many bytes it has.
struct Weighed {
    span: SpanData,
    bytes: usize,
}

/// The way into the queue. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    sender: Sender<Message>,
    /// How many bytes more may wait.
    room: Arc<AtomicUsize>,
    /// Spans for which there was no room.
    dropped: Arc<AtomicU64>,
}

impl Queue {
    /// A queue with room for `size` spans, and the work of exporting them: it ends with the last
    /// way in, and has to be run by somebody.
    pub(crate) fn new<E: SpanExporter>(
        size: usize,
        exporter: E,
        endpoint: String,
    ) -> (Self, impl Future<Output = ()> + use<E>) {
        let (sender, messages) = channel(size);
        let dropped = Arc::new(AtomicU64::new(0));
        let bytes = size.saturating_mul(SPAN_BYTES).max(BATCH_BYTES);
        let room = Arc::new(AtomicUsize::new(bytes));
        let queue = Self {
            sender,
            room: Arc::clone(&room),
            dropped: Arc::clone(&dropped),
        };
        let worker = Worker {
            exporter,
            endpoint,
            room,
            dropped,
            lost: 0,
            warned: None,
        };
        (queue, worker.run(messages))
    }

    /// Puts a span into the queue; says whether there was room for it.
    fn put(&self, span: SpanData) -> bool {
        let bytes = weight(&span);
        let less = |room: usize| room.checked_sub(bytes);
        let order = Ordering::Relaxed;
        if bytes > BATCH_BYTES || self.room.fetch_update(order, order, less).is_err() {
            return false;
        }
        let span = Box::new(Weighed { span, bytes });
        let is_in = self.sender.try_send(Message::Span(span)).is_ok();
        if !is_in {
            self.room.fetch_add(bytes, order);
        }
        is_in
    }

    /// Waits until what is in the queue is exported or given up; says whether it was in time.
    pub(crate) async fn flush(&self, within: Duration) -> bool {
        let flushed = async {
            let (done, wait) = oneshot::channel();
            // Fails, as the wait does, when the task has ended.
            self.sender.send(Message::Flush(done)).await.ok()?;
            wait.await.ok()
        };
        matches!(timeout(within, flushed).await, Ok(Some(())))
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !self.put(span) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whoever owns the traces flushes them; here nobody could wait for it.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// What is exported at once, and who waits for it.
#[derive(Default)]
struct Batch {
    spans: Vec<SpanData>,
    bytes: usize,
    flush: Option<oneshot::Sender<()>>,
}

impl Batch {
    /// Adds what came from the queue; says whether there is to be more.
    fn add(&mut self, message: Message) -> bool {
        match message {
            Message::Span(weighed) => {
                self.bytes += weighed.bytes;
                self.spans.push(weighed.span);
            }
            Message::Flush(done) => self.flush = Some(done),
        }
        self.spans.len() < BATCH && self.bytes < BATCH_BYTES && self.flush.is_none()
    }
}

struct Worker<E> {
    exporter: E,
    endpoint: String,
    room: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
    /// Spans that were lost since the last warning.
    lost: u64,
    warned: Option<Instant>,
}

impl<E: SpanExporter> Worker<E> {
    async fn run(mut self, mut messages: Receiver<Message>) {
        while let Some(first) = messages.recv().await {
            let batch = collect(first, &mut messages).await;
            self.room.fetch_add(batch.bytes, Ordering::Relaxed);
            let count = batch.spans.len() as u64;
            let exported = self.export(batch.spans).await;
            self.report(count, exported);
            if let Some(done) = batch.flush {
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
            }
        }
    }

    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        if spans.is_empty() {
            return Ok(());
        }
        match timeout(EXPORT_LIMIT, self.exporter.export(spans)).await {
            Ok(exported) => exported,
            Err(_) => Err(OTelSdkError::Timeout(EXPORT_LIMIT)),
        }
    }

    fn report(&mut self, count: u64, exported: OTelSdkResult) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        let why = match exported {
            Ok(()) if dropped == 0 => return,
            Ok(()) => "spans come faster than they are taken".to_owned(),
            Err(error) => {
                self.lost += count;
                error.to_string()
            }
        };
        self.lost += dropped;
        let silent = self
            .warned
            .is_some_and(|at| at.elapsed() < BETWEEN_WARNINGS);
        if silent {
            return;
        }
        let (lost, endpoint) = (self.lost, &self.endpoint);
        tracing::warn!(lost, endpoint, why, "traces are lost; said once a minute");
        self.lost = 0;
        self.warned = Some(Instant::now());
    }
}

async fn collect(first: Message, messages: &mut Receiver<Message>) -> Batch {
    let until = Instant::now() + LONGEST_WAIT;
    let mut batch = Batch::default();
    let mut more = batch.add(first);
    while more {
        more = match timeout_at(until, messages.recv()).await {
            Ok(Some(message)) => batch.add(message),
            Ok(None) | Err(_) => false,
        };
    }
    batch
}

/// About how many bytes a span has when it is sent.
fn weight(span: &SpanData) -> usize {
    /// What all have: ids, times, and what tells the parts apart.
    const REST: usize = 128;
    let events = span.events.iter();
    let events = events.map(|event| REST + event.name.len() + weight_of(&event.attributes));
    REST + span.name.len() + weight_of(&span.attributes) + events.sum::<usize>()
}

fn weight_of(values: &[KeyValue]) -> usize {
    let of = |pair: &KeyValue| {
        let value = match &pair.value {
            Value::String(text) => text.as_str().len(),
            Value::Array(Array::String(texts)) => {
                texts.iter().map(|text| text.as_str().len()).sum()
            }
            _ => 8,
        };
        8 + pair.key.as_str().len() + value
    };
    values.iter().map(of).sum()
}

#[cfg(test)]
mod tests;
