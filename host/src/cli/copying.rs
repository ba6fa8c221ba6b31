//! Makes sure that the C library copies memory well.
//!
//! glibc before 2.39 copies some kilobytes and more with an instruction that processors of the families
//! Zen 3 and 4 carry out some fifteen times slower where the target begins a few bytes behind the source
//! within their pages (glibc's bug 30994). Debian 12 and Ubuntu 22.04 have such a glibc, and what a host
//! copies for a call, guest memory above all, often lies so. The library takes the setting that avoids it
//! from the environment of a starting process alone: so the program is run once more, as the same process.

use std::ffi::{OsStr, OsString};
use std::hint::black_box;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

/// The variable that settings of glibc are read from, as `NAME=VALUE` joined by colons.
pub(crate) const VARIABLE: &str = "GLIBC_TUNABLES";

/// From how many bytes on the instruction is used.
const TUNABLE: &str = "glibc.cpu.x86_rep_movsb_threshold";
/// More than is ever copied at once.
const NEVER: u64 = 1 << 40;

/// How much is copied to see how long it takes, how often, and how far the target is behind the source.
const PIECE: usize = 16 << 10;
const TRIES: usize = 8;
const UNLUCKY: usize = 8;
const PAGE: usize = 4096;

/// How many times as long unlucky copies take where something is to be done: one and a half elsewhere.
const SLOW: u32 = 4;

/// Runs this program once more with a setting that copies well, where it copies badly without. Returns where
/// nothing is to be done, also since somebody has said what is to be used, and where it cannot be done: it
/// is slower then, and works.
///
/// To be called before anything else is begun: threads end with it.
pub fn copy_well() {
    let said = std::env::var_os(VARIABLE).unwrap_or_default();
    let Some(said) = with_tunable(&said) else {
        return;
    };
    if !is_slow(fastest(0), fastest(UNLUCKY)) {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let mut words = std::env::args_os();
    let mut again = Command::new(program);
    if let Some(name) = words.next() {
        again.arg0(name);
    }
    let error = again.args(words).env(VARIABLE, said).exec();
    tracing::debug!(%error, "copies stay slow: the program could not be run once more");
}

/// What is already said, and the setting; `None` where it is among that.
fn with_tunable(said: &OsStr) -> Option<OsString> {
    let said = said.to_str()?;
    if said.contains(TUNABLE) {
        return None;
    }
    let colon = if said.is_empty() { "" } else { ":" };
    Some(format!("{said}{colon}{TUNABLE}={NEVER}").into())
}

fn is_slow(lucky: Duration, unlucky: Duration) -> bool {
    unlucky > lucky * SLOW
}

/// How long the fastest of some copies took whose target is `behind` bytes behind the source within a page.
fn fastest(behind: usize) -> Duration {
    let mut room = vec![0_u8; 2 * PIECE + 3 * PAGE];
    let begin = room.as_ptr().align_offset(PAGE);
    let (front, back) = room[begin..].split_at_mut(PIECE + PAGE);
    let (source, target) = (&front[..PIECE], &mut back[behind..behind + PIECE]);
    let took =
        (0..TRIES).map(|_| time(|| black_box(&mut *target).copy_from_slice(black_box(source))));
    took.min().unwrap_or_default()
}

#[expect(clippy::disallowed_types, reason = "measures the processor")]
fn time(work: impl FnOnce()) -> Duration {
    let began = std::time::Instant::now();
    work();
    began.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_already_stays_and_is_not_said_twice() {
        let first = with_tunable(OsStr::new("")).unwrap();
        assert_eq!(first, "glibc.cpu.x86_rep_movsb_threshold=1099511627776");
        assert_eq!(with_tunable(&first), None);
        let other = with_tunable(OsStr::new("glibc.malloc.check=1")).unwrap();
        assert_eq!(
            other,
            "glibc.malloc.check=1:glibc.cpu.x86_rep_movsb_threshold=1099511627776"
        );
        let own = "glibc.cpu.x86_rep_movsb_threshold=4096";
        assert_eq!(with_tunable(OsStr::new(own)), None, "somebody knows better");
    }

    #[test]
    fn only_copies_that_take_many_times_as_long_are_slow() {
        let us = Duration::from_micros;
        assert!(is_slow(us(1), us(15)));
        assert!(!is_slow(us(10), us(15)));
        assert!(!is_slow(Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn a_copy_takes_some_time() {
        for behind in [0, UNLUCKY] {
            assert!(fastest(behind) > Duration::ZERO);
        }
    }
}
