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
//! count is a line of its own, once a second at most, and a second after them at the latest.

mod gate;

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::time::sleep_until;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};

pub(crate) use gate::LogGate;

use crate::component::Shared;
use crate::store::Ctx;
use crate::{LogLevel, LogRecord, LogSource};
use gate::Wish;

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
                log(store.data_mut(), level.into(), &context, &message);
                Ok(())
            },
        )?;
    }
    Ok(())
}

/// Writes a line if the component's config wants it and there is room for it.
fn log(cx: &mut Ctx, level: LogLevel, context: &str, message: &str) {
    let shared = Arc::clone(cx.shared());
    let (env, gate) = (&*shared.env, &shared.log);
    let config = env.config();
    let wish = Wish::of(&config);
    gate.complain(&wish, env);
    let (is_taken, is_wanted) = wish.takes(level);
    if !is_taken {
        return;
    }
    let context = head(context, LONGEST_CONTEXT);
    let message = head(message, LONGEST_MESSAGE);
    if !cx.may_log(context.len() + message.len()) || !gate.admit(wish.rate) {
        gate.leave_out();
        gate.tell(env);
        return tell_later(&shared);
    }
    gate.tell(env);
    let call = format!("{:016x}", cx.number());
    let trace = cx.outbound().context().trace.as_ref();
    env.log(LogRecord {
        source: LogSource::Logging,
        level,
        context,
        message,
        call: &call,
        trace: trace.map_or("", |trace| trace_id(&trace.traceparent)),
        is_wanted,
    });
}

/// Sees to it that what was left out is told also when nothing more is logged.
fn tell_later(shared: &Arc<Shared>) {
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    let Some(mut due) = shared.log.due() else {
        return;
    };
    // Ends when all is told, a second after the last line at the latest, or with the component.
    let shared = Arc::downgrade(shared);
    runtime.spawn(async move {
        loop {
            sleep_until(due).await;
            let Some(shared) = shared.upgrade() else {
                return;
            };
            match shared.log.tell_now(&*shared.env) {
                Some(later) => due = later,
                None => return,
            }
        }
    });
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
        assert_eq!(head("abc", 3), "abc");
        assert_eq!(head("abc", 2), "ab");
        assert_eq!(head("aä", 2), "a");
    }

    #[test]
    fn a_trace_is_named_by_its_id() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(trace_id(&format!("00-{id}-b7ad6b7169203331-01")), id);
        assert_eq!(trace_id("00-1-2-01"), "");
        assert_eq!(trace_id(""), "");
    }
}
