//! Where log lines go.

use std::io::{self, Stderr, Write};

/// A way for a log on which each entry is one line: texts of others, which may be part of it, begin no lines
/// of their own.
#[derive(Debug)]
pub struct LogLines<W>(W);

/// The standard error as such a way.
#[must_use]
pub fn log_lines() -> LogLines<Stderr> {
    LogLines(io::stderr())
}

/// Loggers write an entry at once, with a line break at its end.
impl<W: Write> Write for LogLines<W> {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        self.write_all(entry)?;
        Ok(entry.len())
    }

    fn write_all(&mut self, entry: &[u8]) -> io::Result<()> {
        let line = entry.strip_suffix(b"\n").unwrap_or(entry);
        if !line.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            return self.0.write_all(entry);
        }
        let mut escaped = Vec::with_capacity(entry.len() + 16);
        for byte in line {
            match byte {
                b'\n' => escaped.extend_from_slice(b"\\n"),
                b'\r' => escaped.extend_from_slice(b"\\r"),
                other => escaped.push(*other),
            }
        }
        escaped.extend_from_slice(&entry[line.len()..]);
        self.0.write_all(&escaped)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use parking_lot::Mutex;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_entry_is_one_line_whatever_is_in_it() {
        let written = Written::default();
        let writer = written.clone();
        let log = tracing_subscriber::fmt().with_writer(move || LogLines(writer.clone()));
        tracing::subscriber::with_default(log.finish(), || {
            let error = "unknown variant `x\r\n2026-01-01T00:00:00Z ERROR lattice_host: forged`";
            tracing::warn!(%error, "ignored {error}");
            tracing::warn!("the next");
        });
        let written = String::from_utf8(written.0.lock().clone()).unwrap();
        assert_eq!(written.lines().count(), 2, "{written}");
        assert!(written.contains("x\\r\\n2026") && written.ends_with("the next\n"));
    }
}
