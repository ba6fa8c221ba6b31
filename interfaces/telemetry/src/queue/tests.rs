//! The queue with an exporter that a test controls; time is paused.

use std::sync::Mutex;

use opentelemetry::InstrumentationScope;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
use tokio_util::task::AbortOnDropHandle;

use super::*;

/// What the exporter does with a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Takes,
    Refuses,
    Hangs,
}

#[derive(Debug)]
struct Exporter {
    mood: Mood,
    batches: Arc<Mutex<Vec<usize>>>,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.batches.lock().unwrap().push(batch.len());
        match self.mood {
            Mood::Takes => Ok(()),
            Mood::Refuses => Err(OTelSdkError::InternalFailure("no".to_owned())),
            Mood::Hangs => std::future::pending().await,
        }
    }
}

struct Bench {
    queue: Queue,
    batches: Arc<Mutex<Vec<usize>>>,
    _task: AbortOnDropHandle<()>,
}

impl Bench {
    fn new(size: usize, mood: Mood) -> Self {
        let batches = Arc::default();
        let exporter = Exporter {
            mood,
            batches: Arc::clone(&batches),
        };
        let (queue, work) = Queue::new(size, exporter, "http://collector".to_owned());
        Self {
            queue,
            batches,
            _task: AbortOnDropHandle::new(tokio::spawn(work)),
        }
    }

    fn end_large_spans(&self, count: usize, bytes: usize) {
        for _ in 0..count {
            let text = KeyValue::new("text", "x".repeat(bytes));
            let attributes = vec![text];
            self.queue.on_end(SpanData {
                attributes,
                ..span()
            });
        }
    }

    fn dropped(&self) -> u64 {
        self.queue.dropped.load(Ordering::Relaxed)
    }

    fn end_spans(&self, count: usize) {
        for _ in 0..count {
            self.queue.on_end(span());
        }
    }

    fn batches(&self) -> Vec<usize> {
        self.batches.lock().unwrap().clone()
    }
}

fn span() -> SpanData {
    let now = std::time::SystemTime::now();
    SpanData {
        span_context: SpanContext::empty_context(),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "work".into(),
        start_time: now,
        end_time: now,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: Default::default(),
        links: Default::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::default(),
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn spans_are_exported_together_within_a_second() {
    let bench = Bench::new(10, Mood::Takes);
    bench.end_spans(3);
    tokio::time::sleep(SECOND / 2).await;
    assert!(bench.batches().is_empty());
    tokio::time::sleep(SECOND).await;
    assert_eq!(bench.batches(), [3]);
}

#[tokio::test(start_paused = true)]
async fn full_batch_does_not_wait() {
    let bench = Bench::new(2 * BATCH, Mood::Takes);
    bench.end_spans(BATCH + 1);
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(bench.batches(), [BATCH]);
}

#[tokio::test(start_paused = true)]
async fn flush_waits_for_what_was_before_it() {
    let bench = Bench::new(10, Mood::Takes);
    bench.end_spans(2);
    let start = Instant::now();
    assert!(bench.queue.flush(SECOND).await);
    assert!(start.elapsed() < SECOND / 2);
    assert_eq!(bench.batches(), [2]);
}

#[tokio::test(start_paused = true)]
async fn flush_does_not_outwait_a_collector_that_hangs() {
    let bench = Bench::new(10, Mood::Hangs);
    bench.end_spans(2);
    let start = Instant::now();
    assert!(!bench.queue.flush(SECOND).await);
    assert!(start.elapsed() <= SECOND);
    // The export itself ends, too.
    tokio::time::sleep(EXPORT_LIMIT).await;
    assert!(bench.queue.flush(SECOND).await);
}

#[tokio::test(start_paused = true)]
async fn what_has_no_room_is_dropped_and_counted() {
    let bench = Bench::new(4, Mood::Hangs);
    bench.end_spans(10);
    assert_eq!(bench.dropped(), 6);
}

#[tokio::test(start_paused = true)]
async fn batch_has_no_more_bytes_than_collectors_take() {
    let bench = Bench::new(1000, Mood::Takes);
    bench.end_large_spans(8, 300 << 10);
    bench.end_large_spans(1, BATCH_BYTES);
    // The next report counts it.
    assert_eq!(bench.dropped(), 1);
    assert!(bench.queue.flush(SECOND).await);
    assert_eq!(bench.batches(), [4, 4]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_has_so_many_bytes_at_most() {
    let bench = Bench::new(10, Mood::Takes);
    for _ in 0..2 {
        // Three of them are less than a mebibyte.
        let before = bench.dropped();
        bench.end_large_spans(8, 300 << 10);
        assert_eq!(bench.dropped() - before, 5);
        assert!(bench.queue.flush(SECOND).await);
    }
}

#[tokio::test(start_paused = true)]
async fn one_warning_a_minute_counts_all_that_was_lost() {
    let mut worker = Worker {
        exporter: Exporter {
            mood: Mood::Refuses,
            batches: Arc::default(),
        },
        endpoint: String::new(),
        room: Arc::default(),
        dropped: Arc::new(AtomicU64::new(2)),
        lost: 0,
        warned: None,
    };
    let refused = || Err(OTelSdkError::InternalFailure("no".to_owned()));
    worker.report(3, refused());
    let warned = worker.warned.unwrap();
    assert_eq!(worker.lost, 0);
    worker.report(3, refused());
    worker.report(3, Ok(()));
    assert_eq!((worker.lost, worker.warned), (3, Some(warned)));
    tokio::time::sleep(BETWEEN_WARNINGS).await;
    worker.report(4, refused());
    assert_eq!(worker.lost, 0);
    assert!(worker.warned > Some(warned));
}
