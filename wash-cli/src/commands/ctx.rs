//! `wash ctx`: contexts, the named connection settings of `wash`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::context::{Context, ContextDir, FIRST};
use crate::error::{CliError, Code, Result};
use crate::output::{Output, fields};
use crate::question::ask;

/// Manage contexts: named connection settings
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List contexts
    List(FolderArgs),
    /// Make a context, in place of one of that name
    New(Box<NewArgs>),
    /// Delete a context
    #[command(alias = "delete")]
    Del(NameArgs),
    /// Choose the context that commands use
    #[command(name = "default", visible_alias = "use")]
    Default(NameArgs),
    /// Change a context in an editor
    Edit(EditArgs),
    /// Show a context; seeds stay hidden
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct FolderArgs {
    /// Folder of the contexts
    #[arg(long = "directory", env = "WASH_CONTEXTS")]
    directory: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Name of the context
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Name of the context [default: the one in use]
    name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Name of the context [default: the one in use]
    name: Option<String>,
    /// Program to edit with
    #[arg(short = 'e', long, env = "EDITOR")]
    editor: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Name of the context
    #[arg(required_unless_present = "interactive")]
    name: Option<String>,
    /// Ask for all of it; what the options say is what an empty answer means
    #[arg(short = 'i', long)]
    interactive: bool,
    /// Host of the NATS server, for control and calls
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port of the NATS server
    #[arg(long, default_value_t = 4222)]
    port: u16,
    /// Lattice
    #[arg(short = 'x', long, default_value = "default")]
    lattice: String,
    /// Credentials file
    #[arg(long)]
    credsfile: Option<PathBuf>,
    /// Certificates of the authority that signed the server's certificate
    #[arg(long)]
    tls_ca_file: Option<PathBuf>,
    /// JetStream domain
    #[arg(long)]
    js_domain: Option<String>,
    /// Accepted for scripts of earlier versions: a context of this name is replaced anyway
    #[arg(long, hide = true)]
    force: bool,
}

pub(crate) fn run(command: Command) -> Result<Output> {
    match command {
        Command::List(args) => list(&ContextDir::open(args.directory)?),
        Command::New(args) => new(*args),
        Command::Del(args) => {
            ContextDir::open(args.folder.directory)?.delete(&args.name)?;
            Ok(Output::result(format!("Removed context {}", args.name)))
        }
        Command::Default(args) => {
            ContextDir::open(args.folder.directory)?.set_default(&args.name)?;
            Ok(Output::result(format!(
                "Set default context to {}",
                args.name
            )))
        }
        Command::Edit(args) => edit(&args),
        Command::Show(args) => show(args),
    }
}

fn list(contexts: &ContextDir) -> Result<Output> {
    let names = contexts.names()?;
    let default = contexts.default_name()?.unwrap_or_else(|| FIRST.to_owned());
    let lines: Vec<String> = names
        .iter()
        .map(|name| {
            if *name == default {
                format!("{name} (default)")
            } else {
                name.clone()
            }
        })
        .collect();
    let text = if lines.is_empty() {
        "There are no contexts; commands use 127.0.0.1:4222 and lattice `default`".to_owned()
    } else {
        lines.join("\n")
    };
    let default = names.contains(&default).then_some(default);
    Ok(Output::new(
        text,
        fields([("contexts", names.into()), ("default", default.into())]),
    ))
}

fn new(mut args: NewArgs) -> Result<Output> {
    if args.interactive {
        ask_all(&mut args)?;
    }
    let name = args.name.unwrap_or_default();
    let contexts = ContextDir::open(args.folder.directory)?;
    let lattice = crate::connection::lattice_name(Some(args.lattice))?;
    let context = Context {
        ctl_host: Some(args.host.clone()),
        rpc_host: Some(args.host),
        ctl_port: Some(args.port),
        rpc_port: Some(args.port),
        lattice: Some(lattice.to_string()),
        ctl_credsfile: args.credsfile.clone(),
        rpc_credsfile: args.credsfile,
        ctl_tls_ca_file: args.tls_ca_file.clone(),
        rpc_tls_ca_file: args.tls_ca_file,
        js_domain: args.js_domain,
        ..Context::local(&name)
    };
    contexts.save(&context)?;
    Ok(Output::result(format!("Created context {name}")))
}

/// Asks for what a context is made of.
fn ask_all(args: &mut NewArgs) -> Result<()> {
    let name = args.name.take().unwrap_or_default();
    args.name = Some(asked("Name of the context", &name)?);
    args.host = asked("Host of the NATS server", &args.host)?;
    let port = asked("Port of the NATS server", &args.port.to_string())?;
    args.port = port.parse::<u16>().map_err(|_| {
        CliError::new(Code::Usage, format!("`{port}` is not a port"))
            .hint("give a number up to 65535, such as 4222")
    })?;
    args.lattice = asked("Lattice", &args.lattice)?;
    args.credsfile = asked_path("Credentials file", args.credsfile.take())?;
    args.tls_ca_file = asked_path("Certificates of the authority", args.tls_ca_file.take())?;
    let js_domain = args.js_domain.take().unwrap_or_default();
    let js_domain = asked("JetStream domain", &js_domain)?;
    args.js_domain = Some(js_domain).filter(|domain| !domain.is_empty());
    Ok(())
}

/// The answer, or what an empty one means.
fn asked(question: &str, usual: &str) -> Result<String> {
    let answer = match usual {
        "" => ask(&format!("{question}: "))?,
        usual => ask(&format!("{question} [{usual}]: "))?,
    };
    Ok(if answer.is_empty() {
        usual.to_owned()
    } else {
        answer
    })
}

fn asked_path(question: &str, usual: Option<PathBuf>) -> Result<Option<PathBuf>> {
    let shown = usual.as_ref().map(|path| path.display().to_string());
    let shown = shown.unwrap_or_default();
    let answer = asked(question, &shown)?;
    if answer == shown {
        // As it was given, also where it cannot be shown.
        return Ok(usual);
    }
    Ok(Some(PathBuf::from(answer)))
}

fn edit(args: &EditArgs) -> Result<Output> {
    let contexts = ContextDir::open(args.folder.directory.clone())?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => contexts.default_name()?.unwrap_or_else(|| FIRST.to_owned()),
    };
    let file = contexts.existing(&name)?;
    let Some(editor) = &args.editor else {
        return Err(CliError::new(Code::Usage, "no editor is named")
            .hint("name one with `--editor`, or set EDITOR"));
    };
    // EDITOR may hold options, such as `code --wait`; the shell takes it apart as others do.
    let status = std::process::Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "wash"])
        .arg(&file)
        .status()
        .map_err(|error| CliError::io(format!("could not start `{editor}`"), &error))?;
    if !status.success() {
        let text = format!("`{editor}` ended with {status}");
        return Err(CliError::new(Code::Unexpected, text)
            .hint(format!("the context is the file `{}`", file.display())));
    }
    // What was written is read, so that a mistake is found now.
    contexts.load(&name)?;
    Ok(Output::result(format!("Edited context {name}")))
}

fn show(args: ShowArgs) -> Result<Output> {
    let contexts = ContextDir::open(args.folder.directory)?;
    let context = contexts.select(args.name.as_deref())?;
    let mut context = context.unwrap_or_else(|| Context::local(FIRST));
    for secret in [
        &mut context.cluster_seed,
        &mut context.ctl_seed,
        &mut context.ctl_jwt,
        &mut context.rpc_seed,
        &mut context.rpc_jwt,
    ] {
        if let Some(value) = secret.as_mut().filter(|value| !value.is_empty()) {
            *value = "(hidden)".to_owned();
        }
    }
    let Ok(Value::Object(data)) = serde_json::to_value(&context) else {
        return Err(CliError::new(
            Code::Unexpected,
            "could not show the context",
        ));
    };
    let lines: Vec<String> = data
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| match value.as_str() {
            Some(text) => format!("{key}: {text}"),
            None => format!("{key}: {value}"),
        })
        .collect();
    Ok(Output::new(
        lines.join("\n"),
        fields([("context", Value::Object(data))]),
    ))
}
