//! `--help-markdown`: the help of every command, as one page.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// All commands with their arguments, in the order of the help.
pub(crate) fn render(mut root: Command) -> String {
    // Help, version and global flags are only put into place by this.
    root.build();
    let mut page = String::new();
    section(&mut page, &root, &[]);
    page.trim_end().to_owned()
}

fn section(page: &mut String, command: &Command, parents: &[&str]) {
    let path: Vec<&str> = parents
        .iter()
        .copied()
        .chain([command.get_name()])
        .collect();
    let marks = "#".repeat(path.len().min(6));
    let about = command.get_long_about().or_else(|| command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    // Writing to a text cannot fail.
    let _ = writeln!(page, "{marks} `{}`\n\n{about}\n", path.join(" "));
    let aliases: Vec<String> = command
        .get_visible_aliases()
        .map(|name| format!("`{name}`"))
        .collect();
    if !aliases.is_empty() {
        let _ = writeln!(page, "Also: {}\n", aliases.join(", "));
    }
    let rows: String = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && arg.get_id() != "help")
        // Every command has the global ones; naming them each time would hide the others.
        .filter(|arg| parents.is_empty() || !arg.is_global_set())
        .map(row)
        .collect();
    if !rows.is_empty() {
        let _ = writeln!(
            page,
            "| Argument | Environment | Default | Meaning |\n|---|---|---|---|\n{rows}"
        );
    }
    for child in command.get_subcommands() {
        if !child.is_hide_set() && child.get_name() != "help" {
            section(page, child, &path);
        }
    }
}

fn row(arg: &Arg) -> String {
    let value = arg
        .get_value_names()
        .and_then(|names| names.first())
        .filter(|_| arg.get_action().takes_values());
    let value = value.map(|name| format!(" <{name}>")).unwrap_or_default();
    let short = arg.get_short().map(|name| format!("-{name}"));
    let long = arg.get_long().map(|name| format!("--{name}"));
    let flags: Vec<String> = [short, long].into_iter().flatten().collect();
    let name = if flags.is_empty() {
        value.trim_start().to_owned()
    } else {
        flags.join(", ") + &value
    };
    let variable = arg.get_env().map(|name| format!("`{}`", name.display()));
    let defaults: Vec<String> = arg
        .get_default_values()
        .iter()
        .filter(|_| !arg.is_hide_default_value_set())
        .map(|value| format!("`{}`", value.display()))
        .collect();
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    format!(
        "| `{name}` | {} | {} | {} |\n",
        variable.unwrap_or_default(),
        defaults.join(", "),
        help.replace('|', "\\|").replace('\n', " ")
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_command_and_its_flags_are_on_the_page() {
        let page = super::render(crate::cli::command());
        for part in [
            "# `wash`",
            "### `wash start component`",
            "`--allow-update`",
            "| `-d, --detached` |",
            "`WASMCLOUD_NATS_PORT`",
        ] {
            assert!(page.contains(part), "{part} is missing in:\n{page}");
        }
    }
}
