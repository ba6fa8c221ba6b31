//! A first look at the arguments, for what must be known even when they do not parse.

use std::ffi::OsString;

use crate::error::{CliError, Code};
use crate::output::Format;

/// The output format asked for, wherever it stands.
pub(crate) fn format(args: &[OsString]) -> Format {
    let mut args = args.iter().skip(1).map(|arg| arg.to_string_lossy());
    while let Some(arg) = args.next() {
        let value = match arg.as_ref() {
            "--" => break,
            "-o" | "--output" => args.next().map(|value| value.into_owned()),
            arg => arg
                .strip_prefix("--output=")
                .or_else(|| arg.strip_prefix("-o").filter(|_| !arg.starts_with("--")))
                .map(|value| value.trim_start_matches('=').to_owned()),
        };
        match value.as_deref() {
            Some("json") => return Format::Json,
            Some("wide") => return Format::Wide,
            _ => {}
        }
    }
    Format::Text
}

/// The names of the subcommands in front, such as `link put`; aliases become the real names.
pub(crate) fn command_path(root: &clap::Command, args: &[OsString]) -> String {
    let mut at = root;
    let mut path = Vec::new();
    let mut args = args
        .iter()
        .skip(1)
        .filter_map(|arg| arg.to_str())
        .peekable();
    while let Some(arg) = args.next() {
        if matches!(arg, "-o" | "--output") {
            args.next();
        }
        if arg.starts_with('-') {
            continue;
        }
        let Some(next) = at.find_subcommand(arg) else {
            break;
        };
        path.push(next.get_name());
        at = next;
    }
    path.join(" ")
}

/// Turns what clap says into an error of ours: one message, one hint.
pub(crate) fn usage_error(error: &clap::Error) -> CliError {
    let text = error.render().to_string();
    let mut message = Vec::new();
    let mut tips = Vec::new();
    let mut usage = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(tip) = line.strip_prefix("tip: ") {
            tips.push(tip.to_owned());
        } else if line.starts_with("Usage:") || !usage.is_empty() {
            usage.push(line);
        } else {
            message.push(line.strip_prefix("error: ").unwrap_or(line));
        }
    }
    // The last line of clap's text only says that there is help.
    usage.retain(|line| !line.starts_with("For more information"));
    message.retain(|line| !line.starts_with("For more information"));
    if let Some(usage) = usage.first() {
        tips.push(usage.replacen("Usage:", "usage:", 1));
    }
    let failure = CliError::new(Code::Usage, message.join(" "));
    if tips.is_empty() {
        failure
    } else {
        failure.hint(tips.join("; "))
    }
}

/// Reads words as the arguments of a command, for tests.
#[cfg(test)]
pub(crate) fn parsed<A: clap::Args>(words: &[&str]) -> Result<A, clap::Error> {
    let command = A::augment_args(clap::Command::new("wash").no_binary_name(true));
    A::from_arg_matches(&command.try_get_matches_from(words)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_format_is_found_in_every_spelling() {
        for line in [
            "wash -o json get",
            "wash get hosts -ojson",
            "wash --output=json",
            "w -o=json",
        ] {
            assert_eq!(format(&words(line)), Format::Json, "{line}");
        }
        assert_eq!(format(&words("wash get links -o wide")), Format::Wide);
        for line in [
            "wash get hosts",
            "wash -o text get",
            "wash call a b -- -o json",
        ] {
            assert_eq!(format(&words(line)), Format::Text, "{line}");
        }
    }

    #[test]
    fn the_path_uses_real_names_and_skips_options() {
        let root = crate::command();
        assert_eq!(
            command_path(&root, &words("wash -o json link put a b")),
            "link put"
        );
        assert_eq!(
            command_path(&root, &words("wash get inventories")),
            "get inventory"
        );
        assert_eq!(command_path(&root, &words("wash nonsense")), "");
    }
}
