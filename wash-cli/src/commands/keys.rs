//! `wash keys`: keys that sign, and those that seal.

use clap::{Args, Subcommand, ValueEnum};
use lattice_claims::{CurveKey, KeyKind, SigningKey};
use serde_json::Value;

use crate::error::Result;
use crate::keys::{self, FolderArgs};
use crate::output::{Output, fields};

/// Make and show keys
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key and show it; it is not kept
    Gen(GenArgs),
    /// Show the seed of a key that is kept
    Get(GetArgs),
    /// Show the names of the keys that are kept
    List(ListArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GenArgs {
    /// What the key stands for
    #[arg(value_name = "TYPE", ignore_case = true)]
    kind: Kind,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// Name of the key
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    folder: ShortFolder,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    folder: ShortFolder,
}

/// The folder, with the short option of 1.x.
#[derive(Debug, Args)]
struct ShortFolder {
    /// Folder of keys [default: `keys` in the data folder of wash]
    #[arg(short = 'd', long, env = "WASH_KEYS", value_name = "FOLDER")]
    directory: Option<std::path::PathBuf>,
}

impl ShortFolder {
    fn folder(self) -> Result<std::path::PathBuf> {
        let given = FolderArgs {
            directory: self.directory,
            ..FolderArgs::default()
        };
        given.folder()
    }
}

/// Kinds of keys, under both of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Account,
    User,
    #[value(alias = "component")]
    Module,
    #[value(alias = "provider")]
    Service,
    #[value(alias = "host")]
    Server,
    Operator,
    Cluster,
    #[value(alias = "x25519")]
    Curve,
}

pub(crate) fn run(command: Command) -> Result<Output> {
    match command {
        Command::Gen(args) => Ok(generate(args.kind)),
        Command::Get(args) => get(args),
        Command::List(args) => list(args),
    }
}

fn generate(kind: Kind) -> Output {
    let kind = match kind {
        Kind::Account => KeyKind::Account,
        Kind::User => KeyKind::User,
        Kind::Module => KeyKind::Component,
        Kind::Service => KeyKind::Provider,
        Kind::Server => KeyKind::Host,
        Kind::Operator => KeyKind::Operator,
        Kind::Cluster => KeyKind::Cluster,
        Kind::Curve => {
            let key = CurveKey::generate();
            return shown(&key.public_key(), key.seed().expose());
        }
    };
    let key = SigningKey::generate(kind);
    shown(&key.public_key(), key.seed().expose())
}

fn shown(public: &str, seed: &str) -> Output {
    let text = format!(
        "Public Key: {public}\nSeed: {seed}\n\nRemember that the seed is private, treat it as a \
         secret."
    );
    let data = fields([
        ("public_key", Value::from(public)),
        ("seed", Value::from(seed)),
    ]);
    Output::new(text, data)
}

fn get(args: GetArgs) -> Result<Output> {
    let key = keys::named(&args.folder.folder()?, &args.name)?;
    let seed = key.seed();
    let data = fields([("seed", Value::from(seed.expose()))]);
    Ok(Output::new(seed.expose(), data))
}

fn list(args: ListArgs) -> Result<Output> {
    let folder = args.folder.folder()?;
    let names = keys::names(&folder)?;
    let text = match names.is_empty() {
        true => format!("No keys in {}", folder.display()),
        false => format!("Keys in {}:\n  {}", folder.display(), names.join("\n  ")),
    };
    Ok(Output::new(text, fields([("keys", names.into())])))
}
