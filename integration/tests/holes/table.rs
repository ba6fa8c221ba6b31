//! `SECURITY.md`, `docs/known-holes.md` and `docs/protocol-rows.md` name tests; each of them has to be there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use lattice_integration::workspace;

/// Names of rows, such as `R1`.
fn numbered(letter: char, range: std::ops::RangeInclusive<u32>) -> impl Iterator<Item = String> {
    range.map(move |number| format!("{letter}{number}"))
}

/// The holes that belong to what is built so far.
fn expected() -> Vec<String> {
    numbered('R', 1..=12)
        .chain(numbered('A', 1..=5))
        .chain(numbered('B', 1..=5))
        .chain(numbered('W', 1..=27))
        .chain(numbered('W', 29..=37))
        .collect()
}

/// The folder of each crate of the workspace, by the crate's name.
fn crates(folder: &Path, found: &mut HashMap<String, PathBuf>) -> Result<()> {
    let manifest = folder.join("Cargo.toml");
    if let Ok(text) = std::fs::read_to_string(manifest) {
        let name = text.lines().find_map(|line| line.strip_prefix("name = \""));
        if let Some(name) = name {
            found.insert(name.trim_end_matches('"').to_owned(), folder.to_owned());
        }
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if entry.file_type()?.is_dir() && !hidden && entry.file_name() != "target" {
            crates(&entry.path(), found)?;
        }
    }
    Ok(())
}

/// Whether the file at `place`, `crate::path/of/file`, holds a test of this name.
fn exists(crates: &HashMap<String, PathBuf>, place: &str, test: &str) -> Result<bool> {
    let (name, file) = place.split_once("::").context("no file")?;
    let folder = crates
        .get(name)
        .with_context(|| format!("no crate `{name}`"))?;
    let path = folder.join(format!("{file}.rs"));
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    // Property tests have parameters.
    let declared = [format!("fn {test}("), format!("async fn {test}(")];
    Ok(lines.iter().enumerate().any(|(at, line)| {
        let above = || lines[..at].iter().rev().take(4);
        let is_test =
            above().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
        let runs = is_test && !above().any(|line| line.starts_with("#[ignore"));
        runs && declared.iter().any(|text| line.starts_with(text.as_str()))
            // So have the suites of providers.
            || line.starts_with(&format!("pub async fn {test}("))
    }))
}

/// The rows of a table of tests; fails when a test that one of them names is not there.
fn rows(file: &str) -> Result<Vec<String>> {
    let table = std::fs::read_to_string(workspace().join(file))?;
    let mut folders = HashMap::new();
    crates(workspace(), &mut folders)?;
    let mut rows = Vec::new();
    let mut missing = Vec::new();
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, _, named] = cells[..] else {
            anyhow::bail!("not three cells: {row}");
        };
        if ["hole", "row"].contains(&name) || name.starts_with("---") {
            continue;
        }
        rows.push(name.to_owned());
        let tests: Vec<&str> = named
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|text| text.contains("::"))
            .collect();
        if tests.is_empty() && named != "belongs to later work" {
            missing.push(format!("{name} names no test"));
        }
        for test in tests {
            let (place, function) = test.rsplit_once("::").with_context(|| test.to_owned())?;
            match exists(&folders, place, function) {
                Ok(true) => {}
                Ok(false) => missing.push(format!("{name}: `{function}` is not in {place}")),
                Err(error) => missing.push(format!("{name}: {test}: {error:#}")),
            }
        }
    }
    anyhow::ensure!(missing.is_empty(), "{missing:#?}");
    Ok(rows)
}

#[test]
fn every_hole_has_a_row_and_every_test_named_there_exists() -> Result<()> {
    let rows = rows("docs/known-holes.md")?;
    let without = |hole: &String| !rows.contains(hole);
    let without: Vec<String> = expected().into_iter().filter(without).collect();
    assert!(without.is_empty(), "no row for {without:?}");
    Ok(())
}

#[test]
fn every_row_of_the_checklist_is_there_and_so_is_every_test_named_in_it() -> Result<()> {
    let numbered = |part: &'static str, last: u32| (1..=last).map(move |n| format!("{part}.{n}"));
    let checklist = numbered("13.1", 6).chain(numbered("13.2", 13));
    let checklist: Vec<String> = checklist.chain(numbered("13.3", 3)).collect();
    assert_eq!(rows("docs/protocol-rows.md")?, checklist);
    Ok(())
}

#[test]
fn every_line_of_the_threat_model_names_tests_that_exist() -> Result<()> {
    let rows = rows("SECURITY.md")?;
    let lines = [('C', 9), ('P', 12), ('B', 8), ('T', 3)];
    let lines = lines.into_iter().chain([('R', 3), ('Y', 4), ('S', 8)]);
    let expected = lines.flat_map(|(place, last)| numbered(place, 1..=last));
    let lacks = |line: &String| !rows.contains(line);
    let without: Vec<String> = expected.filter(lacks).collect();
    assert!(without.is_empty(), "no line for {without:?}");
    Ok(())
}
