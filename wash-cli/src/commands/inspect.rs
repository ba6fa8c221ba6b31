//! `wash inspect`: what a component or provider file says about itself.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use lattice_claims::archive::{ArchiveLimits, Keep, ProviderArchive};
use lattice_claims::{Claims, ComponentMetadata, ProviderMetadata, epoch_seconds, token};
use lattice_claims::{verify_component, wasm};
use lattice_core::reply::message_chain as chain;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::{CliError, Code, Result};
use crate::output::{Output, Ui, fields};
use crate::resolve;

mod world;
pub(crate) use world::World;

/// Show the claims, imports and exports of a component or provider file
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Component, WIT package or provider archive
    #[arg(value_name = "FILE")]
    target: String,
    /// Print only the signed token
    #[arg(long = "jwt-only", conflicts_with = "wit")]
    jwt_only: bool,
    /// Print the WIT world
    #[arg(long = "wit", alias = "world")]
    wit: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// How 1.x reaches a registry. Taken for its scripts; they change nothing about files.
#[derive(Debug, clap::Args)]
struct RegistryArgs {
    #[arg(short = 'd', long, hide = true)]
    digest: Option<String>,
    #[arg(long, hide = true)]
    allow_latest: bool,
    #[arg(short = 'u', long, hide = true, env = "WASH_REG_USER")]
    user: Option<String>,
    #[arg(
        short = 'p',
        long,
        hide = true,
        env = "WASH_REG_PASSWORD",
        hide_env_values = true
    )]
    password: Option<String>,
    #[arg(long, hide = true)]
    insecure: bool,
    #[arg(long, hide = true)]
    insecure_skip_tls_verify: bool,
    #[arg(long, hide = true)]
    no_cache: bool,
}

/// The largest file that is read as a component.
const MAX_WASM_BYTES: u64 = 1 << 30;
/// What hosts make of a token that may be that of another file.
const UNBOUND: &str = "as unsigned: the token is of a format before revision 3, whose hash says \
                       nothing about the file";
const WASM_MAGIC: [u8; 4] = *b"\0asm";
const ELF_MAGIC: [u8; 4] = *b"\x7fELF";

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<Output> {
    let path = path_of(&args.target);
    let mut file = open(path, &args.target)?;
    let magic = magic(&mut file).map_err(|error| unread(path, &error))?;
    if magic == WASM_MAGIC {
        return component(args, path, &bytes_of(path, file)?, ui);
    }
    if magic == ELF_MAGIC {
        return Err(not_artifact(path, "it is a program without claims")
            .hint("a bare program can be started as a provider; there is nothing to show of it"));
    }
    provider(args, path, file, ui)
}

/// What the component in a file imports and exports, and whether it carries a token.
pub(crate) fn world_of(target: &str) -> Result<(World, bool)> {
    let path = path_of(target);
    let mut file = open(path, target)?;
    let magic = magic(&mut file).map_err(|error| unread(path, &error))?;
    let bytes = match magic == WASM_MAGIC {
        true => bytes_of(path, file)?,
        false => Vec::new(),
    };
    if !wasmparser::Parser::is_component(&bytes) {
        let text = format!("`{}` is not a component", path.display());
        return Err(CliError::new(Code::NotAnArtifact, text)
            .hint("`wash build` makes one; providers are started with `wash start provider`"));
    }
    let signed = wasm::find_token(&bytes).is_ok_and(|token| token.is_some());
    let world = World::read(&bytes).map_err(|error| not_artifact(path, error))?;
    Ok((world, signed))
}

/// The path of a file, which may be given as a reference.
fn path_of(target: &str) -> &Path {
    Path::new(target.strip_prefix("file://").unwrap_or(target))
}

/// How a file begins; zeros where it is shorter.
fn magic(file: &mut File) -> std::io::Result<[u8; 4]> {
    let mut magic = [0; 4];
    let read = file.by_ref().take(4).read(&mut magic)?;
    file.rewind()?;
    Ok(match read == magic.len() {
        true => magic,
        false => [0; 4],
    })
}

fn bytes_of(path: &Path, file: File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_WASM_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| unread(path, &error))?;
    Ok(bytes)
}

fn unread(path: &Path, error: &std::io::Error) -> CliError {
    CliError::io(format!("could not read `{}`", path.display()), error)
}

fn open(path: &Path, target: &str) -> Result<File> {
    if path.is_dir() {
        return Err(not_artifact(path, "it is a folder"));
    }
    File::open(path).map_err(|error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        if missing && resolve::is_image(target) {
            let text = format!("could not inspect `{target}`");
            return CliError::new(Code::NotSupported, text)
                .cause("images in registries cannot be inspected yet")
                .hint("download the file first, with `wkg oci pull` or `oras pull`");
        }
        CliError::unread(format!("could not open `{}`", path.display()), &error)
            .hint("check the path, and that you may read the file; `wash build` makes one")
    })
}

fn not_artifact(path: &Path, why: impl Into<String>) -> CliError {
    let text = format!(
        "`{}` is neither a component nor a provider archive",
        path.display()
    );
    CliError::new(Code::NotAnArtifact, text).cause(why)
}

fn component(args: &Args, path: &Path, bytes: &[u8], ui: &Ui) -> Result<Output> {
    let unreadable = |error: &dyn std::fmt::Display| not_artifact(path, error.to_string());
    let token = wasm::find_token(bytes).map_err(|error| unreadable(&error))?;
    let decoded = token.map(token::decode::<ComponentMetadata>).transpose();
    let (claims, undecoded) = match decoded {
        Ok(claims) => (claims, None),
        // These show nothing of what it says.
        Err(error) if args.jwt_only || args.wit => (None, Some(chain(&error))),
        Err(error) => return Err(unreadable(&error)),
    };
    let verified = |at| {
        verify_component(bytes, at)
            .map(|_| ())
            .map_err(|e| chain(&e))
    };
    let unverified = claims
        .as_ref()
        .and_then(|claims| why_broken(claims, verified));
    let broken = undecoded.or(unverified);
    if args.jwt_only {
        let token = token.ok_or_else(|| no_token(path))?;
        return jwt(path, token, broken, ui);
    }
    let world = if wasmparser::Parser::is_component(bytes) {
        Some(World::read(bytes).map_err(|error| unreadable(&error))?)
    } else {
        None
    };
    if args.wit {
        let world = world.ok_or_else(|| {
            not_artifact(path, "it is a core module and has no WIT")
                .hint("make it a component, for example with `wash build`")
        })?;
        return wit(path, world, broken, ui);
    }
    if token.is_none() && ui.is_compat() {
        return Err(no_token(path));
    }
    let mut data = Map::new();
    let mut text = Vec::new();
    match &claims {
        Some(claims) => {
            component_claims(claims, verified(epoch_seconds()), &mut text, &mut data);
        }
        None => text.push("Component without claims".to_owned()),
    }
    match world {
        Some(world) => {
            text.push(world.summary());
            data.insert("imports".to_owned(), world.imports.into());
            data.insert("exports".to_owned(), world.exports.into());
        }
        None => text.push("Core module, not a component".to_owned()),
    }
    shown(path, text.join("\n"), data, broken, ui)
}

/// Why claims do not hold, whatever the time is: that they have expired, or hold later, is told along
/// with them, as 1.x does.
fn why_broken<T>(
    claims: &Claims<T>,
    verified: impl Fn(u64) -> std::result::Result<(), String>,
) -> Option<String> {
    let now = epoch_seconds();
    let last = claims.expires.map_or(now, |at| at.saturating_sub(1));
    let at = now.min(last).max(claims.not_before.unwrap_or_default());
    verified(at).err()
}

/// What a file says is shown also where it is not the one that was signed, which is an error.
fn shown(
    path: &Path,
    text: String,
    data: Map<String, Value>,
    broken: Option<String>,
    ui: &Ui,
) -> Result<Output> {
    let Some(why) = broken else {
        return Ok(Output::new(text, data));
    };
    if !ui.is_json() {
        ui.success(&Output::new(text, Map::new()))?;
    }
    let told = format!("the claims of `{}` do not hold", path.display());
    Err(CliError::new(Code::NotAnArtifact, told)
        .cause(why)
        .hint("hosts refuse it; take the file from where it was signed, or sign it again")
        .data(data))
}

fn no_token(path: &Path) -> CliError {
    let text = format!("`{}` carries no token", path.display());
    CliError::new(Code::NotAnArtifact, text)
}

fn jwt(path: &Path, token: &str, broken: Option<String>, ui: &Ui) -> Result<Output> {
    let data = fields([("token", Value::from(token))]);
    // One that cannot be decoded may be any text.
    shown(path, plain(token.trim()), data, broken, ui)
}

fn wit(path: &Path, world: World, broken: Option<String>, ui: &Ui) -> Result<Output> {
    let data = fields([("wit", Value::from(world.wit.as_str()))]);
    shown(path, world.wit, data, broken, ui)
}

fn component_claims(
    claims: &Claims<ComponentMetadata>,
    usable: std::result::Result<(), String>,
    text: &mut Vec<String>,
    data: &mut Map<String, Value>,
) {
    let metadata = claims.metadata.clone().unwrap_or_default();
    let name = metadata.name.unwrap_or_default();
    let proves_nothing = usable.is_ok() && !claims.is_bound();
    let mut common = Common::of(claims, metadata.version, metadata.revision, usable);
    if proves_nothing {
        common.can_be_used = UNBOUND.to_owned();
    }
    let tags = metadata.tags.unwrap_or_default();
    text.push(lines(&[
        ("Component", &name),
        ("Account", &claims.issuer),
        ("Module", &claims.subject),
        ("Expires", &common.expires),
        ("Can be used", &common.can_be_used),
        (
            "Version",
            &format!("{} ({})", common.version, common.revision),
        ),
        (
            "Call alias",
            metadata.call_alias.as_deref().unwrap_or("(not set)"),
        ),
        (
            "Tags",
            &if tags.is_empty() {
                "none".to_owned()
            } else {
                tags.join(", ")
            },
        ),
    ]));
    data.extend(fields([
        ("account", claims.issuer.as_str().into()),
        ("component", claims.subject.as_str().into()),
        ("name", name.into()),
        ("tags", tags.into()),
    ]));
    common.into_fields(data);
}

fn provider(args: &Args, path: &Path, file: File, ui: &Ui) -> Result<Output> {
    // All programs are read, so that each can be compared with its hash. Whether the claims hold is
    // shown with them: whoever looks at an archive wants to know what it says also when they do not.
    let archive = ProviderArchive::read_unchecked(file, Keep::All, ArchiveLimits::default())
        .map_err(|error| not_artifact(path, chain(&error)))?;
    let verified = |at| archive.verify(at).map_err(|e| chain(&e));
    let broken = why_broken(&archive.claims, verified);
    if args.jwt_only {
        return jwt(path, &archive.token, broken, ui);
    }
    let world = archive.world.as_deref().map(World::read).transpose();
    let world = world.map_err(|error| not_artifact(path, error))?;
    if args.wit {
        let world = world.ok_or_else(|| not_artifact(path, "the archive holds no WIT"))?;
        return wit(path, world, broken, ui);
    }
    let (text, data) = provider_claims(&archive);
    shown(path, text, data, broken, ui)
}

fn provider_claims(archive: &ProviderArchive) -> (String, Map<String, Value>) {
    let claims = &archive.claims;
    let metadata: ProviderMetadata = claims.metadata.clone().unwrap_or_default();
    let name = metadata.name.unwrap_or_default();
    let usable = archive.verify(epoch_seconds()).map_err(|e| chain(&e));
    let common = Common::of(claims, metadata.version, metadata.revision, usable);
    let mut text = lines(&[
        ("Provider", &name),
        ("Account", &claims.issuer),
        ("Service", &claims.subject),
        ("Vendor", &metadata.vendor),
        ("Expires", &common.expires),
        ("Can be used", &common.can_be_used),
        (
            "Version",
            &format!("{} ({})", common.version, common.revision),
        ),
        ("Targets", &archive.targets.join(", ")),
    ]);
    let mut data = fields([
        ("name", name.into()),
        ("issuer", claims.issuer.as_str().into()),
        ("service", claims.subject.as_str().into()),
        ("vendor", metadata.vendor.into()),
        ("targets", archive.targets.clone().into()),
    ]);
    if let Some(schema) = metadata.config_schema {
        text.push_str(&format!("\nConfig schema: {schema}"));
        data.insert("schema".to_owned(), schema);
    }
    common.into_fields(&mut data);
    (text, data)
}

/// What claims of every kind say.
struct Common {
    expires: String,
    can_be_used: String,
    version: String,
    revision: i32,
}

impl Common {
    fn of<T>(
        claims: &Claims<T>,
        version: Option<String>,
        revision: Option<i32>,
        usable: std::result::Result<(), String>,
    ) -> Self {
        let can_be_used = match (usable, claims.not_before) {
            (Err(why), _) => format!("no: {why}"),
            (Ok(()), None) => "immediately".to_owned(),
            (Ok(()), Some(at)) => format!("since {}", date(at)),
        };
        Self {
            expires: claims.expires.map_or_else(|| "never".to_owned(), date),
            can_be_used,
            version: version.unwrap_or_else(|| "none".to_owned()),
            revision: revision.unwrap_or_default(),
        }
    }

    fn into_fields(self, data: &mut Map<String, Value>) {
        data.extend(fields([
            ("expires", self.expires.into()),
            ("can_be_used", self.can_be_used.into()),
            ("version", self.version.into()),
            ("revision", self.revision.into()),
        ]));
    }
}

/// Epoch seconds as a date.
pub(crate) fn date(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("epoch second {seconds}"))
}

fn lines(pairs: &[(&str, &str)]) -> String {
    let width = pairs
        .iter()
        .map(|(key, _)| key.len())
        .max()
        .unwrap_or_default()
        + 1;
    let lines: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("{:width$} {}", format!("{key}:"), plain(value)))
        .collect();
    lines.join("\n")
}

/// A text that somebody else has written, on one line and without what steers terminals: it could show
/// lines that are not ours, or hide those that are.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_control() {
            true => plain.extend(letter.escape_default()),
            false => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_readable() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(u64::MAX), format!("epoch second {}", u64::MAX));
    }

    #[test]
    fn what_others_write_makes_no_lines_of_its_own() {
        let shown = lines(&[("Name", "x\nAccount: ATRUSTED\u{1b}[8m"), ("Tags", "é")]);
        assert_eq!(shown, "Name: x\\nAccount: ATRUSTED\\u{1b}[8m\nTags: é");
    }

    #[test]
    fn keys_are_aligned() {
        assert_eq!(lines(&[("A", "1"), ("Long", "2")]), "A:    1\nLong: 2");
    }
}
