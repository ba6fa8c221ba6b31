//! `wash build` of a provider: its program, and the signed archive of it.

use std::path::{Path, PathBuf};

use lattice_claims::ProviderMetadata;
use lattice_claims::archive::native_target;
use serde_json::Value;

use super::absolute;
use super::cargo::CargoBuild;
use super::project::Project;
use crate::commands::claims::TimeArgs;
use crate::commands::par::Making;
use crate::error::{CliError, Code, Result};
use crate::keys::SigningArgs;
use crate::output::{Output, Ui, fields};

/// Who made a provider that does not say so, as 1.x has it.
pub(crate) const NO_VENDOR: &str = "NoVendor";

/// Builds the program, and puts it into an archive if that is to be signed.
pub(super) async fn run(
    project: &Project,
    signs: bool,
    given: &SigningArgs,
    ui: &Ui,
) -> Result<Output> {
    // What cannot be put into an archive is not built in vain.
    let archived = match &project.build_folder {
        Some(folder) if signs => Some((folder, target(project.provider.rust_target.as_deref())?)),
        _ => None,
    };
    let program = build(project).await?;
    let (path, done) = match archived {
        Some((folder, target)) => (
            archive(project, &program, target, folder, given, ui)?,
            "built and signed",
        ),
        None => (program, "built"),
    };
    let signed = done != "built";
    let shown = absolute(&path);
    let text = format!("Provider {done} and can be found at {shown}");
    let data = fields([
        ("path", Value::from(shown)),
        ("built", true.into()),
        ("signed", signed.into()),
    ]);
    Ok(Output::new(text, data))
}

/// Gives the program.
async fn build(project: &Project) -> Result<PathBuf> {
    if project.language != "rust" {
        let text = format!(
            "there is no built-in way to build `{}` providers",
            project.language
        );
        return Err(CliError::new(Code::InvalidInput, text)
            .hint("build the program, and make its archive with `wash par create`"));
    }
    let files = CargoBuild {
        project,
        target: project.provider.rust_target.as_deref(),
        bin: project.provider.bin_name.as_deref(),
    }
    .run()
    .await?;
    let mut programs = files.into_iter();
    programs
        .rfind(|file| file.extension().is_none())
        .ok_or_else(|| {
            CliError::new(Code::BuildFailed, "the build made no program")
                .hint("a provider is a binary crate; name it with `bin_name` under `[provider]`")
        })
}

/// Makes `NAME.par.gz` in the build folder.
fn archive(
    project: &Project,
    program: &Path,
    target: String,
    folder: &Path,
    given: &SigningArgs,
    ui: &Ui,
) -> Result<PathBuf> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let destination = folder.join(format!("{name}.par.gz"));
    crate::lattice_dir::create_folder(folder)?;
    let section = &project.provider;
    let vendor = section.vendor.as_deref().unwrap_or(NO_VENDOR);
    let making = Making {
        program,
        target,
        metadata: ProviderMetadata {
            name: project.name.clone().or_else(|| Some(name.into_owned())),
            vendor: vendor.to_owned(),
            revision: project.revision,
            version: project.version.clone(),
            ..ProviderMetadata::default()
        },
        wit: Some(project.wit.as_path()).filter(|wit| wit.is_dir() && can_be_read(wit, ui)),
        destination: &destination,
        compress: true,
        times: TimeArgs::default(),
        keys: &project.keys(given, section.key_directory.as_deref()),
    };
    making.make(ui)?;
    Ok(destination)
}

/// An archive without its WIT serves as well, as in 1.x.
fn can_be_read(wit: &Path, ui: &Ui) -> bool {
    match wit_parser::Resolve::default().push_dir(wit) {
        Ok(_) => true,
        Err(error) => {
            let folder = wit.display();
            ui.notice(&format!(
                "the archive has no WIT: `{folder}` cannot be read: {error:#}"
            ));
            false
        }
    }
}

/// Systems as targets of Rust name them, and as hosts do. Those of Android name Linux, too.
const SYSTEMS: [(&str, &str); 7] = [
    ("android", "android"),
    ("linux", "linux"),
    ("darwin", "macos"),
    ("windows", "windows"),
    ("freebsd", "freebsd"),
    ("netbsd", "netbsd"),
    ("openbsd", "openbsd"),
];

/// The machine that a program for a target of Rust runs on, as hosts there call it.
fn target(triple: Option<&str>) -> Result<String> {
    let Some(triple) = triple else {
        return Ok(native_target());
    };
    let (arch, rest) = triple.split_once('-').unwrap_or((triple, ""));
    let found = SYSTEMS.iter().find(|(part, _)| rest.contains(part));
    let Some((_, system)) = found else {
        let text = format!("`{triple}` names no system that hosts run on");
        return Err(CliError::new(Code::InvalidInput, text).hint(
            "set `rust_target` under `[provider]` to a target as `rustc --print target-list` has \
             it, or make the archive with `wash par create --arch …`",
        ));
    };
    Ok(format!("{}-{system}", machine(arch)))
}

/// What hosts call the processor of a target of Rust, which says more of it.
fn machine(arch: &str) -> &str {
    match arch {
        "i386" | "i486" | "i586" | "i686" => "x86",
        "x86_64h" => "x86_64",
        "arm64e" | "arm64ec" | "aarch64_be" => "aarch64",
        "powerpc64le" => "powerpc64",
        arm if arm.starts_with("arm") || arm.starts_with("thumb") => "arm",
        risc if risc.starts_with("riscv64") => "riscv64",
        risc if risc.starts_with("riscv32") => "riscv32",
        same => same,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Args;
    use super::*;
    use crate::args::parsed;
    use crate::output::{Format, Surroundings};
    use lattice_claims::archive::{ArchiveLimits, Keep, ProviderArchive};
    use std::fs::{self, File};

    async fn built(folder: &Path, more: &[&str]) -> Result<Output> {
        let ui = Ui::new(Format::Text, false, String::new(), Surroundings::detect());
        let line = [&["-p", folder.to_str().unwrap()], more].concat();
        super::super::run(parsed::<Args>(&line).unwrap(), &ui).await
    }

    #[tokio::test]
    async fn a_provider_is_built_into_a_signed_archive() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().canonicalize().unwrap();
        let file = |name: &str| folder.join(name);
        fs::write(file("kv-redis"), "the program").unwrap();
        // In the place of Cargo a shell runs the script `build`, which says the same.
        let message = serde_json::json!({
            "reason": "compiler-artifact",
            "manifest_path": file("Cargo.toml"),
            "filenames": [file("kv-redis")],
        });
        fs::write(file("build"), format!("echo '{message}'\n")).unwrap();
        fs::write(
            file("wasmcloud.toml"),
            "name = 'Redis'\nlanguage = 'rust'\ntype = 'provider'\nversion = '0.2.0'\n\
             build = 'out'\n[provider]\nvendor = 'Example'\nkey_directory = 'keys'\n\
             [rust]\ncargo_path = '/bin/sh'\n",
        )
        .unwrap();
        let program = built(&folder, &["--build-only"]).await.unwrap();
        assert_eq!(
            program.data()["path"],
            file("kv-redis").display().to_string()
        );
        assert!(!file("out").exists() && !file("keys").exists());
        let refused = built(&folder, &["--disable-keygen"]).await;
        assert_eq!(refused.unwrap_err().code(), Code::FileNotFound);
        let signed = built(&folder, &[]).await.unwrap();
        let path = file("out/kv-redis.par.gz");
        assert_eq!(signed.data()["path"], path.display().to_string());
        assert_eq!(signed.data()["signed"], true);
        assert!(file("keys/kv-redis_service.nk").is_file());
        let now = lattice_claims::epoch_seconds();
        let limits = ArchiveLimits::default();
        let read = ProviderArchive::read(File::open(path).unwrap(), Keep::All, limits, now);
        let archive = read.unwrap();
        assert_eq!(archive.targets, [native_target()]);
        let metadata = archive.claims.metadata.unwrap();
        assert_eq!(metadata.name.as_deref(), Some("Redis"));
        assert_eq!(metadata.version.as_deref(), Some("0.2.0"));
        assert_eq!(metadata.vendor, "Example");
    }

    #[test]
    fn targets_of_rust_are_told_as_those_of_archives() {
        for (triple, named) in [
            ("aarch64-unknown-linux-musl", "aarch64-linux"),
            ("x86_64-apple-darwin", "x86_64-macos"),
            ("x86_64-pc-windows-gnu", "x86_64-windows"),
            ("armv7-unknown-linux-gnueabihf", "arm-linux"),
            ("riscv64gc-unknown-linux-gnu", "riscv64-linux"),
            ("i686-unknown-linux-musl", "x86-linux"),
            ("i586-pc-windows-msvc", "x86-windows"),
            ("powerpc64le-unknown-linux-gnu", "powerpc64-linux"),
            ("aarch64-linux-android", "aarch64-android"),
            ("s390x-unknown-linux-gnu", "s390x-linux"),
        ] {
            assert_eq!(target(Some(triple)).unwrap(), named);
        }
        assert_eq!(target(None).unwrap(), native_target());
        for triple in ["x86_64-unknown-none", "linux", ""] {
            let refused = target(Some(triple)).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidInput, "{triple}");
        }
    }
}
