//! `wasi:logging/logging`, with and without version.
//!
//! A line has the component, its host, and a number that tells its call from others; that of its
//! trace, if there is one. Two values of the component's own config hold from the next line on:
//!
//! | value | meaning | default |
//! | --- | --- | --- |
//! | `log_level` | the least level that is written: `trace`, `debug`, `info`, `warn`, `error`, `critical`; or `off` | that of the host's log |
//! | `log_rate` | how many lines a second are written, all calls together; 0 is any number | 1000 |
//!
//! Beside that, one call logs no more than 1 MiB. Lines that are left out are counted, and the
//! count is a line of its own, once a second at most, and a second after them at the latest. Lines
//! that are not written because of their level are neither counted nor take up room.
//!
//! Level and rate hold for what guests write to their standard error, too: each line there is one of
//! `info`. How much of it a call may write has a bound of its own, which is smaller.

mod gate;

use std::sync::Arc;

use lattice_core::TraceContext;
use lattice_core::text::clipped_bytes;
use tokio::runtime::Handle;
use tokio::time::sleep_until;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use crate::store::Ctx;
use crate::{HostEnv, LogLevel, LogRecord, LogSource};
use gate::{LogGate, Wish};

/// How much of a context and of a message is logged, in bytes.
const LONGEST_CONTEXT: usize = 256;
const LONGEST_MESSAGE: usize = 16 << 10;

/// How much one call may log, in bytes; what comes after that is dropped.
pub(crate) const LOG_PER_CALL: usize = 1 << 20;

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
                log(store.data_mut(), level.into(), &context, &message);
                Ok(())
            },
        )?;
    }
    Ok(())
}

/// Writes a line if the component's config wants it and there is room for it.
fn log(cx: &mut Ctx, level: LogLevel, context: &str, message: &str) {
    let log = Arc::clone(&cx.shared().log);
    let Some(taken) = log.takes(level) else {
        return;
    };
    let context = clipped_bytes(context, LONGEST_CONTEXT);
    let message = clipped_bytes(message, LONGEST_MESSAGE);
    if !cx.may_log(context.len() + message.len()) || !log.admits(taken) {
        return log.leave_out(1);
    }
    let name = cx.call_name();
    log.write(LogRecord {
        source: LogSource::Logging,
        level,
        context,
        message,
        call: &name.call(),
        trace: name.trace(),
        is_wanted: taken.is_wanted,
    });
}

/// How lines of a level are written, as the component's config has it now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    /// Whether that is because the config says so.
    pub(crate) is_wanted: bool,
    rate: u32,
}

/// The log of a component: where its lines go, and how many of them.
pub(crate) struct Log {
    env: Arc<dyn HostEnv>,
    gate: LogGate,
}

impl Log {
    pub(crate) fn new(env: Arc<dyn HostEnv>) -> Self {
        let gate = LogGate::new();
        Self { env, gate }
    }

    /// How a line of this level is written; `None` where nobody wants it.
    pub(crate) fn takes(&self, level: LogLevel) -> Option<Taken> {
        let config = self.env.config();
        let wish = Wish::of(&config);
        self.gate.complain(&wish, &*self.env);
        let (is_taken, is_wanted) = wish.takes(level);
        let is_written = is_taken && (is_wanted || self.env.writes(level));
        let rate = wish.rate;
        is_written.then_some(Taken { is_wanted, rate })
    }

    /// Whether one more line may be written.
    pub(crate) fn admits(&self, taken: Taken) -> bool {
        self.gate.admit(taken.rate)
    }

    /// Writes a line, after what was left out before it.
    pub(crate) fn write(&self, record: LogRecord<'_>) {
        self.tell();
        self.env.log(record);
    }

    /// Tells what was left out, if it is time.
    pub(crate) fn tell(&self) {
        self.gate.tell(&*self.env);
    }

    /// Counts lines that are left out, and sees to it that they are told also when nothing more is
    /// logged.
    pub(crate) fn leave_out(self: &Arc<Self>, count: u64) {
        self.gate.leave_out(count);
        self.tell();
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let Some(mut due) = self.gate.due() else {
            return;
        };
        // Ends when all is told, a second after the last line at the latest, or with the component.
        let log = Arc::downgrade(self);
        runtime.spawn(async move {
            loop {
                sleep_until(due).await;
                let Some(log) = log.upgrade() else {
                    return;
                };
                match log.gate.tell_now(&*log.env) {
                    Some(later) => due = later,
                    None => return,
                }
            }
        });
    }
}

/// What lines have that belong to a call.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallName {
    number: u64,
    trace: String,
}

impl CallName {
    /// The call with this number, which is part of a trace if there is one.
    pub(crate) fn new(number: u64, trace: Option<&TraceContext>) -> Self {
        let trace = trace.map_or("", |trace| trace_id(&trace.traceparent));
        let trace = trace.to_owned();
        Self { number, trace }
    }

    /// Tells its lines from those of others.
    pub(crate) fn call(&self) -> String {
        format!("{:016x}", self.number)
    }

    /// The id of its trace, empty when there is none.
    pub(crate) fn trace(&self) -> &str {
        &self.trace
    }
}

/// The id of the trace in a `traceparent`.
fn trace_id(traceparent: &str) -> &str {
    let id = traceparent.split('-').nth(1).unwrap_or_default();
    let is_one = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_one { id } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(clipped_bytes("abc", 3), "abc");
        assert_eq!(clipped_bytes("abc", 2), "ab");
        assert_eq!(clipped_bytes("aä", 2), "a");
    }

    #[test]
    fn a_trace_is_named_by_its_id() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(trace_id(&format!("00-{id}-b7ad6b7169203331-01")), id);
        assert_eq!(trace_id("00-1-2-01"), "");
        assert_eq!(trace_id(""), "");
    }
}
