//! What is known of a service that runs on after the command that started it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

const FILE: &str = "standing.json";

/// A service that runs, or ran.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) ports: Vec<u16>,
    groups: Vec<Leader>,
}

/// The first process of a group: its id and when it began, since ids are used again.
#[derive(Debug, Serialize, Deserialize)]
struct Leader {
    id: i32,
    began: String,
}

impl Standing {
    pub(crate) fn new(ports: Vec<u16>, groups: Vec<i32>) -> Result<Self> {
        let leader = |id: i32| {
            let began = began(id).context("a service ended as soon as it was there")?;
            Ok(Leader { id, began })
        };
        Ok(Self {
            ports,
            groups: groups.into_iter().map(leader).collect::<Result<_>>()?,
        })
    }

    /// What is known of the service in a folder.
    pub(crate) fn of(folder: &Path) -> Result<Option<Self>> {
        let Ok(text) = fs::read(folder.join(FILE)) else {
            return Ok(None);
        };
        let standing = serde_json::from_slice(&text);
        Ok(Some(standing.with_context(|| {
            format!("`{}` is not ours", folder.join(FILE).display())
        })?))
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        Ok(fs::write(folder.join(FILE), serde_json::to_vec(self)?)?)
    }

    pub(crate) fn runs(&self) -> bool {
        self.groups.iter().all(Leader::lives)
    }
}

impl Leader {
    fn lives(&self) -> bool {
        began(self.id).is_some_and(|at| at == self.began)
    }
}

/// When a process began, in the kernel's ticks since the machine did.
fn began(id: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name of the program may hold anything, so what comes after it is counted.
    let rest = stat.rsplit_once(')')?.1;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18).map(str::to_owned))?
}

/// Kills what runs in a folder and removes it.
pub(crate) fn end(folder: &Path) -> Result<()> {
    if let Some(standing) = Standing::of(folder)? {
        for leader in standing.groups.iter().filter(|leader| leader.lives()) {
            if let Some(group) = Pid::from_raw(leader.id) {
                kill_process_group(group, Signal::KILL).context("could not end a service")?;
            }
        }
    }
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("could not remove `{}`", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_beginning() {
        let own = i32::try_from(std::process::id()).unwrap();
        let standing = Standing::new(vec![1], vec![own]).unwrap();
        assert!(standing.runs());
        let other = Standing {
            ports: vec![1],
            groups: vec![Leader {
                id: own,
                began: "0".to_owned(),
            }],
        };
        assert!(!other.runs());
    }
}
