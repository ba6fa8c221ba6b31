//! Published WIT stays as it was published: `wit.lock` has the SHA-256 of every file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::Problem;

const LOCK: &str = "wit.lock";

pub(super) fn check(folder: &Path) -> Result<Vec<Problem>> {
    let lock_file = folder.join(LOCK);
    let lock = fs::read_to_string(&lock_file)
        .with_context(|| format!("could not read `{}`", lock_file.display()))?;
    let mut locked = parse(&lock);
    let mut problems = Vec::new();
    for (name, digest) in digests(folder)? {
        match locked.remove(name.as_str()) {
            None => problems.push(Problem::file(
                &folder.join(&name),
                format!("is not in {LOCK}"),
            )),
            Some(wanted) if wanted != digest => {
                let text = format!("differs from its line in {LOCK}");
                problems.push(Problem::file(&folder.join(&name), text));
            }
            Some(_) => {}
        }
    }
    problems.extend(
        locked
            .keys()
            .map(|name| Problem::file(&lock_file, format!("names `{name}`, which is gone"))),
    );
    Ok(problems)
}

/// Digest by file name, out of lines such as `sha256sum` writes.
fn parse(lock: &str) -> BTreeMap<&str, &str> {
    lock.lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(digest, name)| (name, digest))
        .collect()
}

/// Digest of every `.wit` file, by its name seen from `folder`.
fn digests(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut digests = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in
            fs::read_dir(&dir).with_context(|| format!("could not read `{}`", dir.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "wit") {
                let bytes = fs::read(&path)
                    .with_context(|| format!("could not read `{}`", path.display()))?;
                let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
                digests.insert(name, hex(&Sha256::digest(bytes)));
            }
        }
    }
    Ok(digests)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_new_and_lost_files_are_found() {
        let folder = std::env::temp_dir().join(format!("xtask-wit-{}", std::process::id()));
        fs::create_dir_all(folder.join("a")).unwrap();
        fs::write(folder.join("a/changed.wit"), "package a:b;").unwrap();
        fs::write(folder.join("a/new.wit"), "").unwrap();
        fs::write(folder.join(LOCK), "00  a/changed.wit\n11  a/lost.wit\n").unwrap();
        let mut found: Vec<String> = check(&folder)
            .unwrap()
            .into_iter()
            .map(|problem| problem.text)
            .collect();
        found.sort();
        assert_eq!(
            found,
            [
                "differs from its line in wit.lock",
                "is not in wit.lock",
                "names `a/lost.wit`, which is gone"
            ]
        );
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn digest_is_that_of_sha256sum() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(&Sha256::digest(b"")), empty);
    }
}
