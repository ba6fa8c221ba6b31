//! What stands in the log, for tests.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many lines are written on this thread meanwhile.
pub(crate) fn lines(work: impl FnOnce()) -> usize {
    let written = Written::default();
    let writer = written.clone();
    let log = tracing_subscriber::fmt().with_writer(move || writer.clone());
    tracing::subscriber::with_default(log.finish(), work);
    let written = written.0.lock();
    written.iter().filter(|byte| **byte == b'\n').count()
}
