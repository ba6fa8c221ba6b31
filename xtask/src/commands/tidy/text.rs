//! Words that belong to one place only.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Problem;

/// Starts of subjects and bucket names; joined here so that this file does not find itself.
const SUBJECT_WORDS: [&str; 5] = [
    concat!("wasmbus", "."),
    concat!("wrpc", ".0.0.1"),
    concat!("LATTICE", "DATA_"),
    concat!("CONFIG", "DATA_"),
    concat!("LATTICE", "STATUS_"),
];

/// The crate that builds subjects, and where it does.
const SUBJECT_HOME: [&str; 2] = [
    "interfaces/core/src/subject.rs",
    "interfaces/core/src/subject/",
];

/// What a later change has to come back to carries the number of an issue.
const LATER: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

pub(super) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for file in files {
        let text = fs::read_to_string(file)
            .with_context(|| format!("could not read `{}`", file.display()))?;
        let relative = file.strip_prefix(root).unwrap_or(file);
        if !is_subject_home(relative) && !is_test_file(relative) {
            problems.extend(subject_words(&text).into_iter().map(|(line, word)| {
                Problem::line(
                    file,
                    line,
                    format!("writes `{word}`; subjects are built in lattice-core's `subject`"),
                )
            }));
        }
        problems.extend(without_issue(&text).into_iter().map(|(line, word)| {
            Problem::line(
                file,
                line,
                format!("`{word}` without an issue, such as `{word}(#12)`"),
            )
        }));
    }
    Ok(problems)
}

fn is_subject_home(relative: &Path) -> bool {
    let path = relative.to_string_lossy();
    SUBJECT_HOME.iter().any(|home| path.starts_with(home))
}

/// Tests say what is on the wire in plain text; that is their purpose.
fn is_test_file(relative: &Path) -> bool {
    relative.starts_with("integration")
        || relative.starts_with("fuzz")
        || relative
            .components()
            .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "benches")
        || relative.file_name().is_some_and(|name| name == "tests.rs")
}

/// Lines of code, tests apart, that hold one of the words.
fn subject_words(text: &str) -> Vec<(usize, &'static str)> {
    code_lines(text)
        .flat_map(|(number, line)| {
            SUBJECT_WORDS
                .iter()
                .filter(move |word| line.contains(**word))
                .map(move |word| (number, *word))
        })
        .collect()
}

/// Lines before the tests, comments left out.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line));
    lines
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn without_issue(text: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for word in LATER {
            if line
                .match_indices(word)
                .any(|(at, _)| !line[at + word.len()..].starts_with("(#"))
            {
                found.push((index + 1, word));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_text_in_code_is_found() {
        let text = format!("let subject = \"{}ctl\";\n", SUBJECT_WORDS[0]);
        assert_eq!(subject_words(&text), [(1, SUBJECT_WORDS[0])]);
    }

    #[test]
    fn subject_text_in_comments_and_tests_is_not() {
        let word = SUBJECT_WORDS[0];
        let text = format!(
            "/// On `{word}ctl`.\n    // {word}\n#[cfg(test)]\nmod tests {{ \"{word}\" }}\n"
        );
        assert!(subject_words(&text).is_empty());
    }

    #[test]
    fn later_work_needs_an_issue() {
        let word = LATER[0];
        assert_eq!(without_issue(&format!("// {word}: soon\n")), [(1, word)]);
        assert!(without_issue(&format!("// {word}(#12): soon\n")).is_empty());
    }

    #[test]
    fn tests_may_spell_subjects() {
        for path in [
            "integration/src/lib.rs",
            "host/tests/wire.rs",
            "control/src/server/tests.rs",
        ] {
            assert!(is_test_file(Path::new(path)), "{path}");
        }
        assert!(!is_test_file(Path::new("host/src/contests.rs")));
    }
}
