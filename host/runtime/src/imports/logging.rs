//! `wasi:logging/logging`, with and without version.

use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use crate::store::Ctx;
use crate::{LogLevel, LogRecord, LogSource};

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
            |store, (level, context, message): (Level, String, String)| {
                store.data().env().log(LogRecord {
                    source: LogSource::Logging,
                    level: level.into(),
                    context: &context,
                    message: &message,
                });
                Ok(())
            },
        )?;
    }
    Ok(())
}
