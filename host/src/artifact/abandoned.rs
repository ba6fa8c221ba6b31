//! Unpacked programs whose hosts were killed.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How the names of folders begin that hold an unpacked program.
pub(super) const PREFIX: &str = "lattice-provider-";

/// How many letters and digits follow, which `tempfile` draws.
const DRAWN: usize = 6;

/// The file in such a folder.
const PROGRAM: &str = "provider";

/// How old a folder is at least that may be taken for left behind: the host that has made a younger
/// one may not hold it yet.
const SETTLED: Duration = Duration::from_secs(60);

/// Holds a folder for as long as the file is open, and no longer than this process lives. Some of what
/// cleans up among the temporary files leaves such a folder alone, too.
pub(super) fn hold(folder: &Path) -> io::Result<File> {
    let file = File::open(folder)?;
    if let Err(error) = file.try_lock() {
        // Where nobody can hold a folder, none is taken for left behind.
        tracing::debug!(%error, folder = %folder.display(), "could not hold a folder");
    }
    Ok(file)
}

/// Removes what hosts of this user have unpacked that were killed since.
pub(crate) fn remove_abandoned() {
    remove_in(&std::env::temp_dir(), SystemTime::now());
}

fn remove_in(place: &Path, now: SystemTime) {
    let entries = match std::fs::read_dir(place) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::debug!(%error, place = %place.display(), "could not look for old programs");
            return;
        }
    };
    for entry in entries.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        if !name.to_str().is_some_and(is_drawn) || !is_settled(&path, now) {
            continue;
        }
        // Held here until it is gone.
        let Some(_held) = abandoned(&path) else {
            continue;
        };
        match remove(&path) {
            Ok(true) => tracing::debug!(path = %path.display(), "removed an abandoned program"),
            Ok(false) => tracing::debug!(path = %path.display(), "left a folder of others alone"),
            Err(error) => {
                tracing::debug!(%error, path = %path.display(), "could not remove a program");
            }
        }
    }
}

/// Whether a host may have given a folder this name.
fn is_drawn(name: &str) -> bool {
    let drawn = name.strip_prefix(PREFIX).map(str::as_bytes);
    drawn.is_some_and(|drawn| drawn.len() == DRAWN && drawn.iter().all(u8::is_ascii_alphanumeric))
}

/// Removes a folder with nothing but a program in it, and says whether it is one. Users give such names
/// to folders of their own, too: whatever else is in one stays.
fn remove(folder: &Path) -> io::Result<bool> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() != PROGRAM || !entry.file_type()?.is_file() {
            return Ok(false);
        }
    }
    if let Err(error) = std::fs::remove_file(folder.join(PROGRAM))
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    // What has come meanwhile keeps it.
    std::fs::remove_dir(folder)?;
    Ok(true)
}

/// Whether a folder of this user is at a path, since some time.
fn is_settled(path: &Path, now: SystemTime) -> bool {
    let Ok(data) = std::fs::symlink_metadata(path) else {
        return false;
    };
    let since = data.modified().ok();
    let age = since.and_then(|since| now.duration_since(since).ok());
    data.is_dir()
        && data.uid() == rustix::process::geteuid().as_raw()
        && age.is_some_and(|age| age > SETTLED)
}

/// A folder that no host holds.
fn abandoned(path: &Path) -> Option<File> {
    let file = File::open(path).ok()?;
    file.try_lock().ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_no_host_holds_are_removed_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let folders = [
            "lattice-provider-Left01",
            "lattice-provider-Held01",
            "of-others",
        ];
        for name in folders {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::write(at(name).join("provider"), "x").unwrap();
        }
        std::fs::write(at("lattice-provider-File01"), "").unwrap();
        let _held = hold(&at("lattice-provider-Held01")).unwrap();
        let is_there = || {
            let [left, held, of_others] = folders;
            [left, held, of_others, "lattice-provider-File01"].map(|name| at(name).exists())
        };
        // One that a host is just making would be as young.
        remove_in(place.path(), SystemTime::now());
        assert_eq!(is_there(), [true; 4]);
        remove_in(place.path(), SystemTime::now() + 2 * SETTLED);
        assert_eq!(is_there(), [false, true, true, true]);
    }

    #[test]
    fn folders_of_users_with_such_names_stay() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let named = ["lattice-provider-template", "lattice-provider-my_own"];
        let filled = ["lattice-provider-Clone1", "lattice-provider-Deep01"];
        for name in named.into_iter().chain(filled) {
            std::fs::create_dir(at(name)).unwrap();
        }
        let [clone, deep] = filled.map(at);
        for file in ["provider", "README.md"] {
            std::fs::write(clone.join(file), "x").unwrap();
        }
        std::fs::create_dir(deep.join("provider")).unwrap();
        // Killed before its host had written the program.
        std::fs::create_dir(at("lattice-provider-Empty1")).unwrap();
        remove_in(place.path(), SystemTime::now() + 2 * SETTLED);
        for path in [at(named[0]), at(named[1]), clone.join("provider"), deep] {
            assert!(path.exists(), "{}", path.display());
        }
        assert!(!at("lattice-provider-Empty1").exists());
    }

    #[test]
    fn what_a_host_unpacks_is_known_again() {
        let (_unpacked, path) = crate::artifact::write_program(&b"x"[..]).unwrap();
        let folder = path.parent().unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(is_drawn(name), "{name}");
        assert!(remove(folder).unwrap());
        assert!(!folder.exists());
    }
}
