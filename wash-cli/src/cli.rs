//! The command tree and the way through one run: parse, dispatch, print, exit code.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{
    build, call, claims, completions, config, ctx, down, get, host, inspect, keys, label, later,
    link, par, policy, scale, secrets, secrets_backend, start, status, stop, up, update, version,
};
use crate::error::{CliError, Code, Result};
use crate::output::{Format, Output, Surroundings, Ui};
use crate::{args, markdown, output};

/// The shell for lattices of WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "wash", disable_version_flag = true, infer_subcommands = false)]
pub(crate) struct Cli {
    /// Form of the output
    #[arg(
        short = 'o',
        long = "output",
        global = true,
        default_value = "text",
        help_heading = "Global options"
    )]
    output: Format,
    /// Accepted for 1.x scripts; nothing is experimental
    #[arg(long, global = true, hide = true, env = "WASH_EXPERIMENTAL", num_args = 0..=1,
        require_equals = true, default_missing_value = "true",
        value_parser = BoolishValueParser::new())]
    experimental: Option<bool>,
    /// Print versions
    #[arg(short = 'V', long)]
    version: bool,
    /// Print the help of all commands as Markdown
    #[arg(long = "help-markdown", hide = true)]
    help_markdown: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a lattice on this machine
    Up(Box<up::Args>),
    /// Stop what `wash up` started on this machine
    Down(down::Args),
    /// Show what `wash up` runs on this machine
    Status(status::Args),
    /// Run one host in the foreground
    Host(Box<host::Args>),
    /// Build the component or the provider in this folder
    Build(build::Args),
    /// Show the claims, imports and exports of a component or provider file
    Inspect(inspect::Args),
    /// Make and show keys
    #[command(subcommand, alias = "key")]
    Keys(keys::Command),
    /// Sign components, and make and show tokens
    #[command(subcommand)]
    Claims(claims::Command),
    /// Make provider archives, and look at them
    #[command(subcommand)]
    Par(par::Command),
    /// Decide what may run in a lattice, and what may be called
    #[command(subcommand)]
    Policy(policy::Command),
    /// Start a component or a provider
    #[command(subcommand)]
    Start(start::Command),
    /// Stop a component, a provider or a host
    #[command(subcommand)]
    Stop(stop::Command),
    /// Change how many instances or copies run
    #[command(subcommand)]
    Scale(scale::Command),
    /// Replace the image of a running component
    #[command(subcommand)]
    Update(update::Command),
    /// Connect components and providers
    #[command(subcommand, visible_alias = "links")]
    Link(link::Command),
    /// Manage named configs
    #[command(subcommand)]
    Config(config::Command),
    /// Manage references to secrets
    #[command(subcommand, alias = "secret")]
    Secrets(secrets::Command),
    /// Run or fill the secrets backend that keeps sealed values in NATS
    #[command(subcommand, name = "secrets-backend", alias = "secrets-nats-kv")]
    SecretsBackend(secrets_backend::Command),
    /// Show what is in the lattice
    #[command(subcommand)]
    Get(get::Command),
    /// Set or delete labels of a host
    #[command(alias = "tag")]
    Label(label::Args),
    /// Call a function of a component or provider
    Call(Box<call::Args>),
    /// Manage contexts: named connection settings
    #[command(subcommand, aliases = ["context", "contexts"])]
    Ctx(ctx::Command),
    /// Print a completion script for a shell
    Completions(completions::Args),
    #[command(flatten)]
    Later(later::Command),
}

impl Command {
    /// Whether there are more columns than the text shows.
    fn has_wide(&self) -> bool {
        match self {
            Self::Get(command) => matches!(command, get::Command::Links(_)),
            Self::Link(command) => matches!(command, link::Command::Query(_)),
            _ => false,
        }
    }

    async fn run(self, ui: &Ui) -> Result<Output> {
        match self {
            Self::Up(args) => up::run(*args, ui).await,
            Self::Down(args) => down::run(args, ui).await,
            Self::Status(args) => status::run(args, ui).await,
            Self::Host(args) => host::run(*args).await,
            Self::Build(args) => build::run(args, ui).await,
            Self::Inspect(args) => inspect::run(&args, ui),
            Self::Keys(command) => keys::run(command),
            Self::Claims(command) => claims::run(command, ui),
            Self::Par(command) => par::run(command, ui),
            Self::Policy(command) => policy::run(command, ui).await,
            Self::Start(command) => start::run(command, ui).await,
            Self::Stop(command) => stop::run(command, ui).await,
            Self::Scale(command) => scale::run(command, ui).await,
            Self::Update(command) => update::run(command, ui).await,
            Self::Link(command) => link::run(command, ui).await,
            Self::Config(command) => config::run(command, ui).await,
            Self::Secrets(command) => secrets::run(command, ui).await,
            Self::SecretsBackend(command) => secrets_backend::run(command, ui).await,
            Self::Get(command) => get::run(command, ui).await,
            Self::Label(args) => label::run(args, ui).await,
            Self::Call(args) => call::run(*args, ui).await,
            Self::Ctx(command) => ctx::run(command),
            Self::Completions(args) => completions::run(&args, ui),
            Self::Later(command) => later::run(&command, ui),
        }
    }
}

/// The clap description of the whole tree.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// A variable that is set to nothing counts as one that is not set, whatever it stands for.
fn without_empty(command: clap::Command) -> clap::Command {
    without_variables(command, &|name| {
        std::env::var_os(name).is_some_and(|value| value.is_empty())
    })
}

/// The same tree without the variables that `left_out` names.
fn without_variables(command: clap::Command, left_out: &dyn Fn(&OsStr) -> bool) -> clap::Command {
    command
        .mut_args(|arg| match arg.get_env() {
            Some(name) if left_out(name) => arg.env(None::<&'static str>),
            _ => arg,
        })
        .mut_subcommands(|command| without_variables(command, left_out))
}

/// One run of `wash`, from arguments to exit code.
pub(crate) fn run(arguments: Vec<OsString>) -> ExitCode {
    let around = Surroundings::detect();
    let color = if around.stdout_style().is_coloured() {
        clap::ColorChoice::Always
    } else {
        clap::ColorChoice::Never
    };
    let root = without_empty(command().color(color));
    let path = args::command_path(&root, &arguments);
    let ui = Ui::new(args::format(&arguments), compat(), path, around);
    let parsed = root
        .clone()
        .try_get_matches_from(&arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(cli) => execute(cli, &ui, root),
        Err(error) => unparsed(&error, &ui),
    }
}

/// `WASH_COMPAT=0.43` keeps the document form and the exit codes of that version.
fn compat() -> bool {
    std::env::var("WASH_COMPAT").is_ok_and(|version| version.trim_start_matches('v') == "0.43")
}

/// Help is a result; anything else is a usage error.
fn unparsed(error: &clap::Error, ui: &Ui) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let help = error.render().ansi().to_string();
            let shown = output::print_text(&help, ui.style());
            finish(shown.map(|()| Output::silent()), ui)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if !ui.is_json() => {
            output::eprint_line(error.render().to_string().trim_end());
            ExitCode::from(2)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let failure = no_subcommand();
            ui.failure(&failure);
            ExitCode::from(failure.exit())
        }
        _ => {
            let failure = args::usage_error(error);
            ui.failure(&failure);
            ExitCode::from(failure.exit())
        }
    }
}

fn no_subcommand() -> CliError {
    CliError::new(Code::Usage, "a subcommand is missing").hint("`--help` lists them")
}

fn execute(cli: Cli, ui: &Ui, mut root: clap::Command) -> ExitCode {
    let Some(command) = cli.command else {
        if cli.version {
            return complete(async { Ok(version::run().await) }, ui);
        }
        if cli.help_markdown {
            let shown = output::show(&markdown::render(root));
            return finish(shown.map(|_| Output::silent()), ui);
        }
        if ui.is_json() {
            ui.failure(&no_subcommand());
        } else {
            output::eprint_line(root.render_long_help().to_string().trim_end());
        }
        return ExitCode::from(2);
    };
    if ui.is_wide() && !command.has_wide() {
        ui.failure(&no_wide(ui));
        return ExitCode::from(2);
    }
    complete(command.run(ui), ui)
}

fn no_wide(ui: &Ui) -> CliError {
    let text = format!("`wash {}` has no output `wide`", ui.command());
    CliError::new(Code::Usage, text)
        .hint("use `-o text` or `-o json`; `wash get links` has `-o wide`")
}

/// Runs a command to its end and prints what came of it.
fn complete(command: impl Future<Output = Result<Output>>, ui: &Ui) -> ExitCode {
    let runtime = match lattice_rpc::threads::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = CliError::io("could not start the async runtime", &error);
            return finish(Err(failure), ui);
        }
    };
    let result = runtime.block_on(command);
    // Reads from a terminal cannot be cancelled; do not wait for them.
    runtime.shutdown_background();
    finish(result, ui)
}

fn finish(result: Result<Output>, ui: &Ui) -> ExitCode {
    let shown = result.and_then(|output| ui.success(&output).map(|_| output));
    match shown {
        Ok(output) => ExitCode::from(ui.exit_code(output.exit())),
        Err(error) => {
            ui.failure(&error);
            ExitCode::from(ui.exit_code(error.exit()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_consistent() {
        command().debug_assert();
    }

    #[tokio::test]
    async fn commands_that_are_not_there_say_what_to_use() {
        let around = Surroundings::detect();
        let ui = Ui::new(Format::Text, false, String::new(), around);
        for line in [
            "app deploy ./wadm.yaml --replace",
            "dev -d --work-dir x",
            "ui",
            "new component hello -t hello-world-rust",
            "push ghcr.io/a/b:1 f.wasm --allow-latest",
            "pull ghcr.io/a/b:1",
            "wit deps",
            "plugin list",
            "spy id",
            "capture --enable",
        ] {
            let words = std::iter::once("wash").chain(line.split(' '));
            let command = Cli::try_parse_from(words).unwrap().command.unwrap();
            let error = command.run(&ui).await.unwrap_err();
            assert_eq!((error.code(), error.exit()), (Code::NotSupported, 2));
            assert!(error.hint_text().is_some(), "{line}");
        }
        let help = super::command().render_help().to_string();
        assert!(!help.contains("Not there yet"), "{help}");
    }

    #[test]
    fn what_belongs_to_a_command_stands_under_no_heading_of_its_connection() {
        fn look(at: &clap::Command, path: &str) {
            for arg in at.get_arguments().filter(|arg| arg.is_positional()) {
                assert_eq!(arg.get_help_heading(), None, "{path}: {}", arg.get_id());
            }
            for child in at.get_subcommands() {
                look(child, &format!("{path} {}", child.get_name()));
            }
        }
        look(&super::command(), "wash");
    }

    #[test]
    fn a_variable_can_be_left_out_of_the_whole_tree() {
        let arg = || clap::Arg::new("path").long("path").env("PATH");
        let sub = clap::Command::new("sub").arg(arg());
        let root = clap::Command::new("root").arg(arg()).subcommand(sub);
        let read = |root: clap::Command| {
            let matches = root.try_get_matches_from(["root", "sub"]).unwrap();
            let (_, below) = matches.subcommand().unwrap();
            [&matches, below].map(|at| at.get_one::<String>("path").is_some())
        };
        assert_eq!(read(root.clone()), [true, true]);
        let without = without_variables(root, &|name| name == "PATH");
        assert_eq!(read(without), [false, false]);
    }

    #[test]
    fn flags_of_1x_do_not_take_the_word_after_them() {
        for line in [
            "wash --experimental get hosts",
            "wash --experimental=1 get hosts",
            "wash call --http-response-extract-json app wasi:http/incoming-handler.handle",
            "wash call --http-response-extract-json=1 app a:b/c.d",
            "wash key list",
            "wash keys gen Account",
            "wash up --detach --labels a=b",
            "wash get hosts --domain core",
        ] {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.is_ok_and(|cli| cli.command.is_some()), "{line}");
        }
    }
}
