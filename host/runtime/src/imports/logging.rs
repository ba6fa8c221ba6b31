//! `wasi:logging/logging`, with and without version.

use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use crate::store::Ctx;
use crate::{LogLevel, LogRecord, LogSource};

/// How much of a context and of a message is logged, in bytes.
const LONGEST_CONTEXT: usize = 256;
const LONGEST_MESSAGE: usize = 16 << 10;

/// How much one call may log, in bytes; what comes after that is dropped.
pub(crate) const LOG_PER_CALL: usize = 1 << 20;

/// The beginning of a text, cut between characters.
fn head(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[derive(Debug, Clone, Copy, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "made from what the guest passes")]
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
            Level::Critical => Self::Critical,
        }
    }
}

pub(super) fn link(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    for name in ["wasi:logging/logging", "wasi:logging/logging@0.1.0-draft"] {
        linker.instance(name)?.func_wrap(
            "log",
            |mut store, (level, context, message): (Level, String, String)| {
                let cx = store.data_mut();
                let context = head(&context, LONGEST_CONTEXT);
                let message = head(&message, LONGEST_MESSAGE);
                if !cx.may_log(context.len() + message.len()) {
                    return Ok(());
                }
                cx.env().log(LogRecord {
                    source: LogSource::Logging,
                    level: level.into(),
                    context,
                    message,
                });
                Ok(())
            },
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(head("abc", 3), "abc");
        assert_eq!(head("abc", 2), "ab");
        assert_eq!(head("aä", 2), "a");
    }
}
