//! Building a component in Rust: what Cargo is asked for, and which of its files is the component.

use std::path::PathBuf;

use super::cargo::{COMPONENT_TARGET, CargoBuild};
use super::project::Project;
use crate::error::{CliError, Code, Result};

/// Builds, and gives the file that Cargo has made of the project.
pub(super) async fn build(project: &Project) -> Result<PathBuf> {
    let target = project.component.wasm_target.as_deref();
    let files = CargoBuild {
        project,
        target: Some(target.map_or(COMPONENT_TARGET, known_target)),
        bin: None,
    }
    .run()
    .await?;
    let is_wasm = |file: &PathBuf| file.extension().is_some_and(|end| end == "wasm");
    let wasm: Vec<PathBuf> = files.into_iter().filter(is_wasm).collect();
    match wasm.as_slice() {
        [] => Err(
            CliError::new(Code::BuildFailed, "the build made no `.wasm` file")
                .hint("a component is a library with `crate-type = [\"cdylib\"]`, or a program"),
        ),
        [one] => Ok(one.clone()),
        several => of_project(several, project).ok_or_else(|| too_many(several)),
    }
}

/// The name by which Rust knows a target today: projects of 1.x have those of before, too.
fn known_target(named: &str) -> &str {
    match named {
        "wasm32-wasi" | "wasm32-wasi-preview1" => "wasm32-wasip1",
        "wasm32-wasi-preview2" | "wasm32-preview2" => "wasm32-wasip2",
        other => other,
    }
}

/// Of several files the one that has the name that the project says, as in 1.x; else its only program.
fn of_project(files: &[PathBuf], project: &Project) -> Option<PathBuf> {
    let by_name = |name: &String| {
        let mut files = files.iter();
        files.find(|file| file.file_stem().is_some_and(|stem| stem == name.as_str()))
    };
    let mut programs = project.programs.iter().filter_map(by_name);
    let first = programs.next();
    let only = first.filter(|first| programs.all(|other| other == *first));
    let found = project.wasm_name.as_ref().and_then(by_name);
    found.or(only).cloned()
}

fn too_many(wasm: &[PathBuf]) -> CliError {
    let names: Vec<String> = wasm.iter().map(|file| file.display().to_string()).collect();
    CliError::new(Code::BuildFailed, "the build made several `.wasm` files")
        .cause(names.join(", "))
        .hint("name one package with `-p PATH`, or the file by `name` in wasmcloud.toml")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[tokio::test]
    async fn targets_that_rust_has_renamed_are_built_for() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let message = serde_json::json!({
            "reason": "compiler-artifact",
            "manifest_path": folder.join("Cargo.toml"),
            "filenames": [folder.join("shop.wasm")],
        });
        // In the place of Cargo a shell runs the script `build`, which notes the target.
        write(
            &folder,
            "build",
            format!("echo \"$3\" > target\necho '{message}'\n"),
        );
        for (named, known) in [
            ("wasm32-wasi", "wasm32-wasip1"),
            ("wasm32-wasi-preview1", "wasm32-wasip1"),
            ("wasm32-wasi-preview2", "wasm32-wasip2"),
            ("wasm32-preview2", "wasm32-wasip2"),
            ("wasm32-wasip1", "wasm32-wasip1"),
            ("wasm32-unknown-unknown", "wasm32-unknown-unknown"),
        ] {
            let text = format!(
                "name = 'shop'\nlanguage = 'rust'\ntype = 'component'\n\
                 [component]\nwasm_target = '{named}'\n[rust]\ncargo_path = '/bin/sh'\n"
            );
            write(&folder, "wasmcloud.toml", text);
            let project = Project::find(Some(&folder)).unwrap();
            assert!(build(&project).await.unwrap().ends_with("shop.wasm"));
            let target = fs::read_to_string(folder.join("target")).unwrap();
            assert_eq!(target.trim(), known, "{named}");
        }
    }

    #[test]
    fn of_several_files_that_of_the_project_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| write(folder.path(), name, text);
        let taken = |names: &[&str]| {
            let files: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
            let project = Project::find(Some(folder.path())).unwrap();
            let taken = of_project(&files, &project)?;
            Some(taken.display().to_string())
        };
        file("src/lib.rs", "");
        file("Cargo.toml", "[package]\nname = 'my-shop'\n");
        let all = ["t/tool.wasm", "t/member.wasm", "t/my_shop.wasm"];
        assert_eq!(taken(&all).as_deref(), Some("t/my_shop.wasm"));
        assert_eq!(taken(&all[..2]), None);
        file(
            "wasmcloud.toml",
            "name = 'shop'\nlanguage = 'rust'\ntype = 'component'\n",
        );
        assert_eq!(taken(&all).as_deref(), Some("t/my_shop.wasm"));
        file(
            "wasmcloud.toml",
            "name = 'shop'\nlanguage = 'rust'\ntype = 'component'\nwasm_bin_name = 'tool'\n",
        );
        assert_eq!(taken(&all).as_deref(), Some("t/tool.wasm"));
        file(
            "wasmcloud.toml",
            "name = 'shop'\nlanguage = 'rust'\ntype = 'component'\n",
        );
        fs::remove_file(folder.path().join("src/lib.rs")).unwrap();
        let programs = "[package]\nname = 'my-shop'\n[[bin]]\nname = 'tool'\n[[bin]]\nname = 'b'\n";
        file("Cargo.toml", programs);
        assert_eq!(taken(&all[..2]).as_deref(), Some("t/tool.wasm"));
        assert_eq!(taken(&["t/tool.wasm", "t/b.wasm"]), None);
    }
}
