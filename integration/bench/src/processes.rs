//! The processes that this run has started.

use anyhow::{Result, bail, ensure};

/// Those of a program, by the end of its path, that descend from this process.
pub(crate) fn named(program: &str) -> Result<Vec<u32>> {
    let own = std::process::id();
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let Ok(command) = std::fs::read(format!("/proc/{pid}/cmdline")) else {
            continue;
        };
        let command = String::from_utf8_lossy(&command).into_owned();
        let path = command.split('\0').next().unwrap_or_default();
        if path.ends_with(program) && is_descendant(pid, own) {
            all.push(pid);
        }
    }
    Ok(all)
}

/// The only one of a program.
pub(crate) fn only(program: &str) -> Result<u32> {
    let all = named(program)?;
    ensure!(
        all.len() == 1,
        "{} processes `{program}`, not one",
        all.len()
    );
    Ok(all[0])
}

/// The child of a process that has `word` among its arguments.
pub(crate) fn child_with(parent: u32, word: &str) -> Result<u32> {
    for entry in std::fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let Ok(command) = std::fs::read(format!("/proc/{pid}/cmdline")) else {
            continue;
        };
        let has_word = command
            .split(|byte| *byte == 0)
            .any(|part| part == word.as_bytes());
        if has_word && pid != parent && is_descendant(pid, parent) {
            return Ok(pid);
        }
    }
    bail!("no process below {parent} has the argument `{word}`")
}

/// How many files and sockets a process holds open.
pub(crate) fn open_files(pid: u32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

fn is_descendant(mut pid: u32, ancestor: u32) -> bool {
    while pid > 1 {
        if pid == ancestor {
            return true;
        }
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            return false;
        };
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1));
        let Some(parent) = parent.and_then(|parent| parent.parse().ok()) else {
            return false;
        };
        pid = parent;
    }
    false
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_child_is_found_by_an_argument() {
        let mut child = std::process::Command::new("sleep");
        let mut child = child.arg("8.125").spawn().unwrap();
        let own = std::process::id();
        // The system shows the arguments of a process a moment after it has begun.
        let until = Instant::now() + Duration::from_secs(5);
        let found = loop {
            match child_with(own, "8.125") {
                Ok(found) => break found,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, child.id());
        let error = child_with(own, "no such argument").unwrap_err();
        assert!(error.to_string().contains("no such argument"), "{error}");
    }

    #[test]
    fn a_process_descends_from_itself_and_its_parent() {
        let own = std::process::id();
        assert!(is_descendant(own, own));
        assert!(is_descendant(own, std::os::unix::process::parent_id()));
        assert!(!is_descendant(std::os::unix::process::parent_id(), own));
        assert!(open_files(own).unwrap() > 2);
    }
}
