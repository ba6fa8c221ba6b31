//! Every file is part of a crate, and every module says what it is for.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{Problem, source};

pub(super) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<Problem>> {
    let roots = source::crate_roots(&source::packages(root)?);
    let (reached, mut problems) = reach(&roots)?;
    for file in files {
        let canonical = fs::canonicalize(file)?;
        if !reached.contains(&canonical) {
            problems.push(Problem::file(
                file,
                "is part of no crate: no `mod` leads to it",
            ));
        }
        if !opens_with_docs(&read(file)?) {
            problems.push(Problem::line(
                file,
                1,
                "does not open with a `//!` sentence",
            ));
        }
    }
    Ok(problems)
}

/// Follows the `mod` lines from the crate roots; tells of each `#[path]` that leads nowhere.
///
/// Not all crates are built with each change: the fuzz targets name files of others, which move.
fn reach(roots: &[PathBuf]) -> Result<(BTreeSet<PathBuf>, Vec<Problem>)> {
    let mut reached = BTreeSet::new();
    let mut problems = Vec::new();
    let mut open: Vec<(PathBuf, bool)> = roots.iter().map(|root| (root.clone(), true)).collect();
    while let Some((file, is_root)) = open.pop() {
        if !reached.insert(file.clone()) {
            continue;
        }
        for module in declared(&read(&file)?) {
            match (module.file_below(&file, is_root), &module.path) {
                (Some(found), _) => open.push((found, false)),
                (None, Some(path)) => problems.push(Problem::file(
                    &file,
                    format!(
                        "has a module `{}` at `{path}`, which is not there",
                        module.name
                    ),
                )),
                // A module without a file of its own, such as one that a macro makes.
                (None, None) => {}
            }
        }
    }
    Ok((reached, problems))
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("could not read `{}`", file.display()))
}

/// A `mod name;` line, with its `#[path]` if it has one.
#[derive(Debug, PartialEq, Eq)]
struct Module {
    name: String,
    path: Option<String>,
}

impl Module {
    /// The file of this module when `parent` declares it.
    fn file_below(&self, parent: &Path, parent_is_root: bool) -> Option<PathBuf> {
        let dir = parent.parent()?;
        if let Some(path) = &self.path {
            return fs::canonicalize(dir.join(path)).ok();
        }
        let own_folder = parent_is_root || parent.file_name().is_some_and(|name| name == "mod.rs");
        let dir = if own_folder {
            dir.to_path_buf()
        } else {
            dir.join(parent.file_stem()?)
        };
        let candidates = [
            dir.join(format!("{}.rs", self.name)),
            dir.join(&self.name).join("mod.rs"),
        ];
        candidates
            .iter()
            .find_map(|path| fs::canonicalize(path).ok())
    }
}

/// The modules that a file declares and keeps in files of their own.
fn declared(text: &str) -> Vec<Module> {
    let mut modules = Vec::new();
    let mut path = None;
    for line in text.lines().map(str::trim) {
        if let Some(attribute) = line.strip_prefix("#[path") {
            path = attribute.split('"').nth(1).map(str::to_owned);
        } else if let Some(name) = module_name(line) {
            modules.push(Module {
                name: name.to_owned(),
                path: path.take(),
            });
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            path = None;
        }
    }
    modules
}

fn module_name(line: &str) -> Option<&str> {
    let rest = match line.strip_prefix("pub") {
        Some(rest) => rest.trim_start().strip_prefix('(').map_or(rest, |scope| {
            scope.split_once(')').map_or("", |(_, rest)| rest)
        }),
        None => line,
    };
    let name = rest
        .trim_start()
        .strip_prefix("mod ")?
        .strip_suffix(';')?
        .trim();
    let name = name.strip_prefix("r#").unwrap_or(name);
    name.chars()
        .all(|c| c.is_alphanumeric() || c == '_')
        .then_some(name)
}

fn opens_with_docs(text: &str) -> bool {
    let first = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    first
        .strip_prefix("//!")
        .is_some_and(|sentence| !sentence.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        declared(text)
            .into_iter()
            .map(|module| module.name)
            .collect()
    }

    #[test]
    fn modules_in_files_are_found() {
        let text = "mod one;\npub mod two;\npub(crate) mod three;\npub(in crate::x) mod four;\nmod r#five;\n";
        assert_eq!(names(text), ["one", "two", "three", "four", "five"]);
    }

    #[test]
    fn modules_in_place_and_comments_are_not() {
        assert!(names("mod tests {\n}\n// mod old;\nlet mod_name = 1;\nuse module;\n").is_empty());
    }

    #[test]
    fn path_attribute_belongs_to_the_next_module() {
        let modules = declared("#[path = \"other/file.rs\"]\n#[cfg(test)]\nmod one;\nmod two;\n");
        assert_eq!(modules[0].path.as_deref(), Some("other/file.rs"));
        assert_eq!(modules[1].path, None);
    }

    #[test]
    fn a_path_that_leads_nowhere_is_a_problem() {
        let folder = std::env::temp_dir().join(format!("lattice-tidy-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let root = folder.join("target.rs");
        let text = "#[path = \"here.rs\"]\nmod one;\n#[path = \"../gone/away.rs\"]\nmod two;\n";
        fs::write(&root, text).unwrap();
        fs::write(folder.join("here.rs"), "//! Here.\n").unwrap();
        let found = reach(std::slice::from_ref(&root));
        fs::remove_dir_all(&folder).unwrap();
        let (reached, problems) = found.unwrap();
        assert_eq!(reached.len(), 2);
        let text = "has a module `two` at `../gone/away.rs`, which is not there";
        assert_eq!(problems, [Problem::file(&root, text)]);
    }

    #[test]
    fn documentation_has_to_come_first_and_say_something() {
        assert!(opens_with_docs("\n//! Says.\n"));
        assert!(!opens_with_docs("//!\nuse x;\n"));
        assert!(!opens_with_docs("// A comment.\n//! Too late.\n"));
        assert!(!opens_with_docs(""));
    }
}
