//! Whether the disk has room for what is built: a linker that runs out of it dies of a bus error.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;

/// What all programs and tests take that were never built, in GiB: 15 were measured, and 13 more for
/// what makes the next build quicker.
const FIRST_BUILD: u64 = 17;
const INCREMENTAL: u64 = 13;

/// Refuses to begin a first build for which there is no room. A later one takes what the first has left, which
/// nobody can tell.
pub(super) fn ensure(workspace: &Workspace, incremental: bool) -> Result<()> {
    if workspace.target().join("debug/wash").exists() {
        return Ok(());
    }
    let needed = FIRST_BUILD + u64::from(incremental) * INCREMENTAL;
    // It need not be there yet.
    let existing = workspace
        .target()
        .ancestors()
        .find(|folder| folder.exists());
    let free = free(existing.unwrap_or(workspace.root()))?;
    if free < needed {
        let target = workspace.target().display();
        bail!(
            "a first build takes about {needed} GiB in {target}, and {free} are free; make room, or name a folder on \
             another disk with CARGO_TARGET_DIR{}",
            if incremental {
                ", or set CARGO_INCREMENTAL=0, which takes 13 less"
            } else {
                ""
            }
        );
    }
    Ok(())
}

/// What is free on the disk of a folder, in GiB.
fn free(folder: &Path) -> Result<u64> {
    let output = Command::new("df").arg("-Pk").arg(folder).output();
    let output = output.context("could not start `df`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    free_in(&text).with_context(|| format!("`df -Pk` says nothing of {}: {text}", folder.display()))
}

/// The fourth field of the second line, as POSIX has it.
fn free_in(answer: &str) -> Option<u64> {
    let kib: u64 = answer
        .lines()
        .nth(1)?
        .split_whitespace()
        .nth(3)?
        .parse()
        .ok()?;
    Some(kib >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_read() {
        let answer = "Filesystem 1024-blocks Used Available Capacity Mounted on\n\
                      /dev/vda 263174212 35000000 61865984 37% /\n";
        assert_eq!(free_in(answer), Some(59));
        assert_eq!(free_in("df: nothing\n"), None);
        assert!(free(Path::new("/")).is_ok());
    }
}
