//! `wash inspect` and `wash build` on real files.

mod common;

use common::artifacts::{archive, archive_of, component, signed};
use common::{Home, expect};
use lattice_claims::component::ValidTimes;
use lattice_claims::{Claims, ComponentMetadata, KeyKind, SigningKey, wasm};

#[test]
fn an_unsigned_component_shows_imports_and_exports() {
    let home = Home::new();
    home.file("demo.wasm", component());
    expect(
        &home.wash("inspect demo.wasm"),
        "
-- stdout
Component without claims
Imports:
  test:demo/source@0.1.0
Exports:
  test:demo/sink@0.1.0
-- exit 0",
    );
}

#[test]
fn the_world_is_printed_as_wit() {
    let home = Home::new();
    home.file("demo.wasm", component());
    let wit = home.wash("inspect demo.wasm --wit").ok().stdout;
    assert!(wit.contains("import test:demo/source@0.1.0;"), "{wit}");
    assert!(wit.contains("read: func(key: string) -> u64;"), "{wit}");
}

#[test]
fn claims_of_a_component_are_shown_and_checked() {
    let home = Home::new();
    let (bytes, account, subject) = signed(&component());
    home.file("demo.wasm", &bytes);
    let outcome = home
        .wash("inspect demo.wasm")
        .without(&account, "[ACCOUNT]")
        .without(&subject, "[SUBJECT]");
    expect(
        &outcome,
        "
-- stdout
Component:   demo
Account:     [ACCOUNT]
Module:      [SUBJECT]
Expires:     never
Can be used: immediately
Version:     0.2.0 (3)
Call alias:  (not set)
Tags:        a, b
Imports:
  test:demo/source@0.1.0
Exports:
  test:demo/sink@0.1.0
-- exit 0",
    );
    let json = home.wash("inspect demo.wasm -o json").ok().json();
    assert_eq!(json["account"], account);
    assert_eq!(json["component"], subject);
    assert_eq!(json["revision"], 3);
    assert_eq!(json["tags"], serde_json::json!(["a", "b"]));
    assert_eq!(json["imports"][0], "test:demo/source@0.1.0");
    let token = home.wash("inspect demo.wasm --jwt-only").ok().stdout;
    assert_eq!(token.trim().split('.').count(), 3);
}

#[test]
fn a_changed_component_says_that_its_claims_do_not_hold() {
    let home = Home::new();
    let (mut bytes, _, _) = signed(&component());
    bytes.extend([0, 2, 1, b'x']);
    home.file("demo.wasm", &bytes);
    for command in ["inspect", "claims inspect"] {
        let outcome = home.wash(&format!("{command} demo.wasm"));
        assert_eq!(outcome.code, Some(8), "{outcome}");
        let told = "Can be used: no: hash mismatch";
        assert!(outcome.stdout.contains(told), "{outcome}");
        let error = "error[WASH0072]: the claims of `demo.wasm` do not hold";
        assert!(outcome.stderr.starts_with(error), "{outcome}");
    }
    for (option, shown) in [("--jwt-only", "eyJ"), ("--wit", "world root {")] {
        let outcome = home.wash(&format!("inspect demo.wasm {option}"));
        assert_eq!(outcome.code, Some(8), "{outcome}");
        assert!(outcome.stdout.contains(shown), "{outcome}");
        assert!(outcome.stderr.contains("do not hold"), "{outcome}");
    }
    let json = home.wash("inspect demo.wasm -o json");
    assert_eq!(json.code, Some(8), "{json}");
    let json = json.json();
    assert_eq!(
        (&json["success"], &json["name"]),
        (&false.into(), &"demo".into())
    );
    let old = home.with("WASH_COMPAT", "0.43");
    assert_eq!(old.wash("inspect demo.wasm").code, Some(1));
}

#[test]
fn a_token_that_cannot_be_decoded_is_printed_and_told_of() {
    let home = Home::new();
    let bytes = wasm::with_token(&component(), "no.token\u{1b}[8m").unwrap();
    home.file("demo.wasm", bytes);
    for (option, shown) in [
        ("--jwt-only", "no.token\\u{1b}[8m\n"),
        ("--wit", "world root {"),
    ] {
        let outcome = home.wash(&format!("inspect demo.wasm {option}"));
        assert_eq!(outcome.code, Some(8), "{outcome}");
        assert!(outcome.stdout.contains(shown), "{outcome}");
        let told = "the claims of `demo.wasm` do not hold";
        assert!(outcome.stderr.contains(told), "{outcome}");
    }
    let outcome = home.wash("inspect demo.wasm");
    assert_eq!(outcome.code, Some(8), "{outcome}");
    assert!(outcome.stdout.is_empty(), "{outcome}");
}

#[test]
fn a_component_without_claims_is_an_error_only_for_scripts_of_1x() {
    let home = Home::new();
    home.file("demo.wasm", component());
    home.wash("inspect demo.wasm").ok();
    let home = home.with("WASH_COMPAT", "0.43");
    let old = home.wash("inspect demo.wasm");
    assert_eq!(old.code, Some(1), "{old}");
    assert!(old.stderr.contains("carries no token"), "{old}");
    home.wash("inspect demo.wasm --wit").ok();
}

#[test]
fn a_token_that_is_bound_to_no_file_is_said_to_be_none() {
    let home = Home::new();
    let mut claims = Claims::new("M".into(), ComponentMetadata::default(), 1_700_000_000);
    claims.revision = Some(2);
    let token = claims.sign(&SigningKey::generate(KeyKind::Account));
    let bytes = wasm::with_token(&component(), &token.unwrap());
    home.file("demo.wasm", bytes.unwrap());
    let json = home.wash("inspect demo.wasm -o json").ok().json();
    let told = json["can_be_used"].as_str().unwrap();
    assert!(told.starts_with("as unsigned: "), "{told}");
}

#[test]
fn a_provider_archive_shows_its_targets() {
    let home = Home::new();
    let (bytes, account, service) = archive();
    home.file("kv.par.gz", bytes);
    let outcome = home
        .wash("inspect kv.par.gz")
        .without(&account, "[ACCOUNT]")
        .without(&service, "[SERVICE]");
    expect(
        &outcome,
        "
-- stdout
Provider:    kv
Account:     [ACCOUNT]
Service:     [SERVICE]
Vendor:      Example
Expires:     never
Can be used: immediately
Version:     1.0.0 (1)
Targets:     x86_64-linux, aarch64-linux
-- exit 0",
    );
}

#[test]
fn archives_that_cannot_be_used_are_shown_and_say_why() {
    let home = Home::new();
    let times = |expires, not_before| ValidTimes {
        now: 1_700_000_000,
        expires,
        not_before,
    };
    let far = 4_000_000_000;
    let mut swapped = archive_of(times(None, None), false);
    let at = swapped.windows(3).position(|found| found == b"two");
    swapped[at.unwrap()] ^= 1;
    for (name, bytes, why, code) in [
        (
            "expired",
            archive_of(times(Some(1_700_000_001), None), true),
            "token expired",
            0,
        ),
        (
            "early",
            archive_of(times(None, Some(far)), true),
            "token not yet usable",
            0,
        ),
        ("swapped", swapped, "hash mismatch, `aarch64-linux`", 8),
    ] {
        home.file(name, bytes);
        let outcome = home.wash(&format!("inspect {name} -o json"));
        assert_eq!(outcome.code, Some(code), "{outcome}");
        let json = outcome.json();
        assert_eq!(json["success"], code == 0, "{name}: {json}");
        assert_eq!(json["name"], "kv", "{name}: {json}");
        let told = json["can_be_used"].as_str().unwrap();
        assert!(told.starts_with("no: ") && told.contains(why), "{told}");
        let outcome = home.wash(&format!("inspect {name} --jwt-only"));
        assert_eq!(outcome.code, Some(code), "{outcome}");
        assert!(outcome.stdout.starts_with("ey"), "{outcome}");
    }
}

#[test]
fn files_that_are_neither_are_refused_by_name() {
    let home = Home::new();
    home.file("note.txt", "hello there, this is not wasm");
    let outcome = home.wash("inspect note.txt");
    assert_eq!(outcome.code, Some(8), "{outcome}");
    let head = "error[WASH0072]: `note.txt` is neither a component nor a provider archive\n";
    assert!(outcome.stderr.starts_with(head), "{outcome}");
    expect(
        &home.wash("inspect none.wasm"),
        "
-- stderr
error[WASH0025]: could not open `none.wasm`
  caused by: No such file or directory (os error 2)
hint: check the path, and that you may read the file; `wash build` makes one
-- exit 3",
    );
    home.file("core.wasm", b"\0asm\x01\0\0\0");
    let outcome = home.wash("inspect core.wasm --wit");
    assert!(
        outcome
            .stderr
            .contains("it is a core module and has no WIT"),
        "{outcome}"
    );
}

#[test]
fn a_build_command_makes_the_component() {
    let home = Home::new();
    home.file("project/made.wasm", component());
    home.file(
        "project/wasmcloud.toml",
        r#"
            name = "my-demo"
            language = "other"
            type = "component"
            [component]
            build_command = "echo building; mkdir -p out; cp made.wasm out/demo.wasm"
            build_artifact = "out/demo.wasm"
        "#,
    );
    expect(
        &home.wash("build -p project --build-only"),
        "
-- stdout
Component built and can be found at [HOME]/project/out/demo.wasm
-- stderr
building
-- exit 0",
    );
    let signed = home.wash("build -p project --sign-only").ok();
    assert_eq!(
        signed.stdout.trim_end(),
        "Component signed and can be found at [HOME]/project/out/demo_s.wasm"
    );
}

#[test]
fn builds_that_fail_or_make_no_component_say_so() {
    let home = Home::new();
    let project = |command: &str| {
        let text = format!(
            "name = \"x\"\nlanguage = \"other\"\ntype = \"component\"\n\
             [component]\nbuild_command = \"{command}\"\nbuild_artifact = \"x.wasm\"\n"
        );
        home.file("wasmcloud.toml", text);
    };
    project("exit 3");
    let failed = home.wash("build");
    assert_eq!(failed.code, Some(1), "{failed}");
    assert!(
        failed.stderr.contains("`exit 3` ended with exit status: 3"),
        "{failed}"
    );
    project("true");
    let nothing = home.wash("build");
    assert!(nothing.stderr.contains("the build made no `"), "{nothing}");
    project("echo hello > x.wasm");
    let text = home.wash("build");
    assert_eq!(text.code, Some(8), "{text}");
    assert!(text.stderr.contains("it is not WebAssembly"), "{text}");
    expect(
        &Home::new().wash("build"),
        "
-- stderr
error[WASH0025]: `[HOME]` holds no wasmcloud.toml and no Cargo.toml
hint: name the project with `wash build -p PATH`
-- exit 3",
    );
}
