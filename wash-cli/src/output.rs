//! How results and errors are shown: text for people, one JSON document for programs.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Map, Value};

mod spinner;
mod style;
mod table;

pub(crate) use spinner::Spinner;
pub(crate) use style::{Style, Surroundings, Tone};
pub(crate) use table::{Cell, Table};

use crate::error::{CliError, Result};

/// The version of the JSON documents.
const API: &str = "wash/v1";

/// The form of what is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
    /// Text with more columns, for `get links`
    Wide,
}

/// What a command that worked has to say.
#[derive(Debug, Default)]
pub(crate) struct Output {
    text: String,
    data: Map<String, Value>,
    bare: bool,
    silent: bool,
    exit: u8,
}

impl Output {
    /// Text for people and the fields of the JSON document.
    pub(crate) fn new(text: impl Into<String>, data: Map<String, Value>) -> Self {
        Self {
            text: text.into(),
            data,
            ..Self::default()
        }
    }

    /// One message, under `result` in JSON.
    pub(crate) fn result(text: impl Into<String>) -> Self {
        let text = text.into();
        let data = fields([("result", Value::from(text.as_str()))]);
        Self::new(text, data)
    }

    /// Nothing, because the command has printed all there is.
    pub(crate) fn silent() -> Self {
        Self {
            silent: true,
            ..Self::default()
        }
    }

    /// The data is the whole document, without the common fields.
    pub(crate) fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Ends the process with this code although the command itself worked.
    pub(crate) fn exit_with(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }

    pub(crate) fn exit(&self) -> u8 {
        self.exit
    }

    #[cfg(test)]
    pub(crate) fn data(&self) -> &Map<String, Value> {
        &self.data
    }
}

/// Collects fields of a JSON document.
pub(crate) fn fields<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The common fields of a document of success.
#[derive(Serialize)]
struct SuccessDocument<'a> {
    success: bool,
    api: &'a str,
    command: &'a str,
    #[serde(flatten)]
    data: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct FailureDocument<'a> {
    success: bool,
    api: &'a str,
    command: &'a str,
    error: FailureDetail<'a>,
    #[serde(flatten)]
    data: &'a Map<String, Value>,
    exit: u8,
}

#[derive(Serialize)]
struct FailureDetail<'a> {
    code: String,
    message: &'a str,
    causes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

/// The failure document of 0.43.
#[derive(Serialize)]
struct OldFailureDocument<'a> {
    success: bool,
    error: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    error_chain: &'a [String],
}

/// Prints for one run of `wash`.
#[derive(Debug, Clone)]
pub(crate) struct Ui {
    /// Not [`Format::Wide`], which is a text.
    format: Format,
    wide: bool,
    compat: bool,
    command: String,
    surroundings: Surroundings,
}

impl Ui {
    /// `compat` keeps the document form of 0.43: a blank line first, errors as plain text on stderr; and
    /// its exit codes.
    pub(crate) fn new(format: Format, compat: bool, command: String, around: Surroundings) -> Self {
        let wide = format == Format::Wide;
        Self {
            format: if wide { Format::Text } else { format },
            wide,
            compat,
            command,
            surroundings: around,
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// The names of the command and its subcommands.
    pub(crate) fn command(&self) -> &str {
        &self.command
    }

    /// Whether more columns are wanted.
    pub(crate) fn is_wide(&self) -> bool {
        self.wide
    }

    /// Whether documents are those of 0.43.
    pub(crate) fn is_compat(&self) -> bool {
        self.compat
    }

    /// The code a command ends with: 0.43 knew one for everything that failed.
    pub(crate) fn exit_code(&self, exit: u8) -> u8 {
        match self.compat && !matches!(exit, 0 | 2 | 129 | 130 | 143) {
            true => 1,
            false => exit,
        }
    }

    pub(crate) fn style(&self) -> Style {
        self.surroundings.stdout_style()
    }

    /// Whether stdout is read by a person right now.
    pub(crate) fn stdout_terminal(&self) -> bool {
        self.surroundings.stdout_terminal
    }

    pub(crate) fn interactive(&self) -> bool {
        self.surroundings.interactive() && !self.is_json()
    }

    /// Shows a spinner until the returned guard is dropped.
    pub(crate) fn spinner(&self, text: impl Into<String>) -> Spinner {
        Spinner::start(self.surroundings.motion() && !self.is_json(), text)
    }

    /// Says something beside the result, on stderr.
    pub(crate) fn notice(&self, text: &str) {
        if self.surroundings.motion() && !self.is_json() {
            spinner::clear_line();
        }
        let style = self.surroundings.stderr_style();
        eprint_line(&format!("{} {text}", style.dim("note:")));
    }

    /// Prints the result of a command; says whether anybody still reads.
    pub(crate) fn success(&self, output: &Output) -> Result<bool> {
        match self.format {
            _ if output.silent => Ok(true),
            Format::Text | Format::Wide if self.compat => show(&format!("\n{}", output.text)),
            Format::Text | Format::Wide => show(&output.text),
            Format::Json => show(&self.document(&self.success_document(output))),
        }
    }

    /// Prints an answer that takes the place of the one before it; says whether anybody still
    /// reads.
    pub(crate) fn refresh(&self, output: &Output) -> Result<bool> {
        const CLEAR: &str = "\x1b[H\x1b[2J";
        if self.stdout_terminal() && !self.is_json() {
            show(&format!("{CLEAR}{}", output.text))
        } else {
            self.success(output)
        }
    }

    fn success_document(&self, output: &Output) -> String {
        if output.bare {
            return pretty(&output.data);
        }
        if self.compat {
            let mut data = output.data.clone();
            data.insert("success".to_owned(), Value::Bool(true));
            return pretty(&data);
        }
        pretty(&SuccessDocument {
            success: true,
            api: API,
            command: &self.command,
            data: &output.data,
        })
    }

    /// Prints why a command failed.
    pub(crate) fn failure(&self, error: &CliError) {
        if self.surroundings.motion() && !self.is_json() {
            spinner::clear_line();
        }
        match (self.format, self.compat) {
            (Format::Text | Format::Wide, false) => eprint_line(&self.failure_text(error)),
            (Format::Text | Format::Wide, true) => {
                eprint_line(&format!("\n{}", self.failure_text(error)))
            }
            (Format::Json, true) => eprint_line(&format!("\n{}", old_failure(error))),
            (Format::Json, false) => {
                print_line(&self.document(&self.failure_document(error)));
                let style = self.surroundings.stderr_style();
                eprint_line(&headline(style, error));
            }
        }
    }

    fn failure_text(&self, error: &CliError) -> String {
        let style = self.surroundings.stderr_style();
        let mut text = headline(style, error);
        for cause in error.causes() {
            text.push('\n');
            text.push_str(&style.dim(&format!("  caused by: {cause}")));
        }
        if let Some(hint) = error.hint_text() {
            text.push_str(&format!("\n{} {hint}", style.hint("hint:")));
        }
        text
    }

    fn failure_document(&self, error: &CliError) -> String {
        pretty(&FailureDocument {
            success: false,
            api: API,
            command: &self.command,
            error: FailureDetail {
                code: error.code().to_string(),
                message: error.message(),
                causes: error.causes(),
                hint: error.hint_text(),
            },
            data: error.extra(),
            exit: error.exit(),
        })
    }

    /// A document as it is printed.
    fn document(&self, text: &str) -> String {
        let first = if self.compat { "\n" } else { "" };
        format!("{first}{text}")
    }
}

fn headline(style: Style, error: &CliError) -> String {
    format!(
        "{} {}",
        style.error(&format!("error[{}]:", error.code())),
        error.message()
    )
}

fn old_failure(error: &CliError) -> String {
    pretty(&OldFailureDocument {
        success: false,
        error: error.message(),
        error_chain: error.causes(),
    })
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("documents have string keys")
}

/// Writes a result to stdout; says whether anybody still reads (`wash … | head`). What could not be
/// written for another reason did not reach the user, and is an error.
pub(crate) fn show(text: &str) -> Result<bool> {
    written(write_line(&mut io::stdout().lock(), text))
}

fn written(outcome: io::Result<()>) -> Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::io("could not write the result", &error)),
    }
}

fn write_line(out: &mut impl Write, text: &str) -> io::Result<()> {
    writeln!(out, "{text}").and_then(|()| out.flush())
}

/// Writes to stdout what goes on meanwhile: the work does not depend on who reads it.
pub(crate) fn print_line(text: &str) {
    let _ = write_line(&mut io::stdout().lock(), text);
}

/// Writes to stderr; see [`print_line`].
pub(crate) fn eprint_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints text that may carry colour codes of clap, without them where colour is off.
pub(crate) fn print_text(text: &str, style: Style) -> Result<()> {
    let text = if style.is_coloured() {
        text.to_owned()
    } else {
        strip_sgr(text)
    };
    show(text.trim_end()).map(|_| ())
}

/// Removes `ESC [ … m` sequences.
fn strip_sgr(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn only_a_reader_that_went_away_is_no_error() {
        assert!(written(Ok(())).unwrap());
        assert!(!written(Err(io::ErrorKind::BrokenPipe.into())).unwrap());
        let full = written(Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!((full.code(), full.exit()), (Code::Io, 1));
    }
}
