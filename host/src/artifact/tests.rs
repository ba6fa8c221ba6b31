//! Tests of reading images.

use lattice_claims::archive::ArchiveError;
use lattice_claims::{KeyKind, ProviderMetadata, SigningKey};
use lattice_core::ErrorCode;

use super::*;

const IMAGES: Images = Images {
    builtins: Builtins::none(),
    issuer: None,
    allow_files: true,
    max_component_bytes: 1_000,
    max_provider_bytes: 100_000,
};

fn trust() -> Arc<Trust> {
    Arc::default()
}

fn image(text: &str) -> ImageRef {
    ImageRef::new(text).unwrap()
}

fn file(path: &Path) -> ImageRef {
    image(&format!("file://{}", path.display()))
}

fn path_of(program: &ProviderProgram) -> &Path {
    match &program.program {
        Program::File { path, .. } => path,
        Program::Builtin(_) => panic!("a file"),
    }
}

async fn component_error(images: Images, reference: &ImageRef) -> String {
    images.component(reference).await.unwrap_err().to_string()
}

#[tokio::test]
async fn components_are_read_up_to_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.wasm");
    std::fs::write(&path, [7; 1_000]).unwrap();
    assert_eq!(IMAGES.component(&file(&path)).await.unwrap().len(), 1_000);
    std::fs::write(&path, [7; 1_001]).unwrap();
    let error = component_error(IMAGES, &file(&path)).await;
    assert!(
        error.contains("1001 bytes, more than the limit of 1000"),
        "{error}"
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.wasm");
    assert!(
        component_error(IMAGES, &file(&missing))
            .await
            .contains("missing.wasm")
    );
    assert!(
        component_error(IMAGES, &file(dir.path()))
            .await
            .contains("is not a file")
    );
    let off = Images {
        allow_files: false,
        ..IMAGES
    };
    assert_eq!(
        component_error(off, &file(&missing)).await,
        "unable to start component from file, file loading is disabled"
    );
    let registry = component_error(IMAGES, &image("oci://ghcr.io/a/b:1")).await;
    assert!(
        registry.contains("ghcr.io/a/b:1") && registry.contains("from files only"),
        "{registry}"
    );
    let builtin = component_error(IMAGES, &image("builtin://http-server")).await;
    assert!(builtin.contains("http-server"), "{builtin}");
    let relative = IMAGES.component(&image("./a.wasm")).await.unwrap_err();
    assert_eq!(relative.code(), ErrorCode::InvalidReference);
    assert!(relative.to_string().contains("`./a.wasm`"), "{relative}");
    assert!(relative.hint().contains("file:///absolute"));
}

#[tokio::test]
async fn the_code_says_whether_the_file_is_missing_unreadable_or_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let large = dir.path().join("large.wasm");
    std::fs::write(&large, [7; 1_001]).unwrap();
    for (reference, code) in [
        (file(&dir.path().join("missing.wasm")), ErrorCode::NotFound),
        (file(dir.path()), ErrorCode::ImageInvalid),
        (file(&large), ErrorCode::ImageTooLarge),
        (image("oci://ghcr.io/a/b:1"), ErrorCode::ImageUnavailable),
    ] {
        let error = IMAGES.component(&reference).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
    let off = Images {
        allow_files: false,
        ..IMAGES
    };
    let error = off.component(&file(&large)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Forbidden);
}

#[tokio::test]
async fn bare_programs_have_to_be_executable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("provider");
    std::fs::write(&path, "#!/bin/sh\n").unwrap();
    let error = IMAGES.provider(&file(&path), &trust()).await.unwrap_err();
    assert!(matches!(error, FetchError::NotExecutable { .. }));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = IMAGES.provider(&file(&path), &trust()).await.unwrap();
    assert_eq!(path_of(&program), path);
    std::fs::write(&path, "text").unwrap();
    let error = IMAGES.provider(&file(&path), &trust()).await.unwrap_err();
    assert!(matches!(error, FetchError::NotAProvider { .. }));
}

fn archive(target: &str, library: &[u8], gzip: bool) -> Vec<u8> {
    let issuer = SigningKey::generate(KeyKind::Account);
    let subject = SigningKey::generate(KeyKind::Provider);
    let metadata = ProviderMetadata {
        name: Some("kv".into()),
        ..ProviderMetadata::default()
    };
    let builder = lattice_claims::archive::ArchiveBuilder::new(metadata);
    let builder = builder.library(target, library.to_vec()).unwrap();
    let mut out = Vec::new();
    let times = lattice_claims::component::ValidTimes::from(epoch_seconds());
    builder
        .write(&mut out, gzip, &issuer, &subject, times)
        .unwrap();
    out
}

#[tokio::test]
async fn the_program_for_this_machine_is_unpacked_from_an_archive() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kv.par.gz");
    for gzip in [false, true] {
        std::fs::write(&path, archive(&native_target(), b"#!/bin/sh\n", gzip)).unwrap();
        let program = IMAGES.provider(&file(&path), &trust()).await.unwrap();
        assert_eq!(std::fs::read(path_of(&program)).unwrap(), b"#!/bin/sh\n");
        let mode = std::fs::metadata(path_of(&program))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o700, 0o700);
        let unpacked = path_of(&program).to_owned();
        let folder = File::open(unpacked.parent().unwrap()).unwrap();
        assert!(
            folder.try_lock().is_err(),
            "others would take it for left behind"
        );
        assert!(program.claims.is_some());
        drop(program);
        assert!(!unpacked.exists());
    }
    std::fs::write(&path, archive("s390x-plan9", b"x", true)).unwrap();
    let error = IMAGES.provider(&file(&path), &trust()).await.unwrap_err();
    assert!(matches!(
        error,
        FetchError::Archive {
            source: ArchiveError::NoLibrary { .. },
            ..
        }
    ));
}

#[tokio::test]
async fn an_unpacked_program_that_was_cleaned_away_is_unpacked_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kv.par.gz");
    std::fs::write(&path, archive(&native_target(), b"#!/bin/sh\n", true)).unwrap();
    let mut program = IMAGES.provider(&file(&path), &trust()).await.unwrap();
    // The archive may be gone by then, or another one.
    std::fs::remove_file(&path).unwrap();
    let first = path_of(&program).to_owned();
    program.keep().await.unwrap();
    assert_eq!(path_of(&program), first);
    let clean = |path: &Path| std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let replace = |path: &Path| {
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, "of somebody else").unwrap();
    };
    for change in [&clean as &dyn Fn(&Path), &replace] {
        change(path_of(&program));
        program.keep().await.unwrap();
        let again = path_of(&program);
        assert_eq!(std::fs::read(again).unwrap(), b"#!/bin/sh\n");
        let mode = std::fs::metadata(again).unwrap().permissions().mode();
        assert_eq!(mode & 0o700, 0o700);
    }
    let last = path_of(&program).to_owned();
    drop(program);
    assert!(!last.exists() && !first.exists());
}
