//! `wash keys`, `wash claims`, `wash par` and `wash policy test`: what one makes the others take.

mod common;

use std::os::unix::fs::PermissionsExt as _;

use common::artifacts::component;
use common::{Home, expect};
use lattice_claims::archive::{ArchiveLimits, Keep, ProviderArchive};
use lattice_claims::{KeyKind, SigningKey, TrustedIssuers, epoch_seconds, verify_component};

fn home() -> Home {
    Home::new().with("USER", "ada")
}

#[test]
fn keys_of_each_kind_are_made_and_not_kept() {
    let home = home();
    for (kind, public, seed) in [
        ("account", "A", "SA"),
        ("component", "M", "SM"),
        ("module", "M", "SM"),
        ("provider", "V", "SV"),
        ("service", "V", "SV"),
        ("host", "N", "SN"),
        ("operator", "O", "SO"),
        ("user", "U", "SU"),
        ("cluster", "C", "SC"),
        ("curve", "X", "SX"),
    ] {
        let made = home.wash(&format!("keys gen {kind} -o json")).ok().json();
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        assert!(text("public_key").starts_with(public), "{made}");
        assert!(text("seed").starts_with(seed), "{made}");
    }
    let listed = home.wash("keys list -o json").ok().json();
    assert_eq!(listed["keys"], serde_json::json!([]));
}

#[test]
fn a_component_is_signed_with_keys_that_are_made_once() {
    let home = home();
    home.file("cart.wasm", component());
    let line = "claims sign cart.wasm -n cart -t a -t b -r 3 -v 1.4.0 -x 30 -a Shop-Cart";
    let signed = home.wash(line).ok();
    assert_eq!(
        signed.stdout, "Successfully signed cart_s.wasm\n",
        "{signed}"
    );
    assert_eq!(
        signed.stderr.matches("note: made the").count(),
        2,
        "{signed}"
    );
    let wasm = std::fs::read(home.path().join("cart_s.wasm")).unwrap();
    let now = epoch_seconds();
    let claims = verify_component(&wasm, now).unwrap().unwrap().claims;
    let metadata = claims.metadata.unwrap();
    assert_eq!(metadata.call_alias.as_deref(), Some("shop_cart"));
    assert_eq!(
        (metadata.revision, metadata.version.as_deref()),
        (Some(3), Some("1.4.0"))
    );
    assert!(claims.expires.unwrap() > now + 29 * 86_400);

    let again = home.wash(&format!("{line} -o json")).ok();
    assert!(again.stderr.is_empty(), "{again}");
    assert_eq!(again.json()["issuer"], claims.issuer.as_str());
    let listed = home.wash("keys list -o json").ok().json();
    assert_eq!(
        listed["keys"],
        serde_json::json!(["ada_account", "cart_module"])
    );
    let seed = home.wash("keys get ada_account").ok().stdout;
    let key = SigningKey::from_seed(seed.trim()).unwrap();
    assert_eq!(key.public_key(), claims.issuer);
    let kept = home.path().join(".local/share/wash/keys");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&kept) & 0o777, 0o700);
    assert_eq!(mode(&kept.join("ada_account.nk")) & 0o777, 0o600);
}

#[test]
fn the_project_of_the_folder_says_what_the_command_line_does_not() {
    let home = home();
    home.file("cart.wasm", component());
    home.file(
        "wasmcloud.toml",
        "name = 'shop'\nlanguage = 'other'\ntype = 'component'\nversion = '0.3.0'\n\
         revision = 4\n[component]\ntags = ['a']\nkey_directory = 'keys'\n\
         destination = 'out.wasm'\n",
    );
    home.wash("claims sign cart.wasm -t b").ok();
    assert!(home.path().join("keys/ada_account.nk").is_file());
    let shown = home.wash("inspect out.wasm -o json").ok().json();
    assert_eq!(shown["name"], "shop", "{shown}");
    assert_eq!(shown["version"], "0.3.0", "{shown}");
    assert_eq!(shown["revision"], 4, "{shown}");
    assert_eq!(shown["tags"], serde_json::json!(["b", "a"]));
    home.wash("claims sign cart.wasm -n own -r 5 -d own.wasm")
        .ok();
    let shown = home.wash("inspect own.wasm -o json").ok().json();
    assert_eq!(
        (&shown["name"], &shown["revision"]),
        (&"own".into(), &5.into())
    );
    home.wash("claims token component").ok();
    home.wash("claims token provider").ok();
    home.file("wasmcloud.toml", "language = 1");
    let without = home.wash("claims sign cart.wasm").ok();
    assert!(without.stderr.contains("goes on without"), "{without}");
    let needs = home.wash("claims token provider -v Example");
    assert_eq!(needs.code, Some(2), "{needs}");
}

#[test]
fn the_folder_of_what_is_signed_is_made() {
    let home = home();
    home.file("cart.wasm", component());
    home.wash("claims sign cart.wasm -d out/of/here.wasm").ok();
    home.wash("inspect out/of/here.wasm").ok();
    home.file(
        "wasmcloud.toml",
        "name = 'shop'\nlanguage = 'other'\ntype = 'component'\n\
         [component]\ndestination = 'signed/shop.wasm'\n",
    );
    home.wash("claims sign cart.wasm").ok();
    home.wash("inspect signed/shop.wasm").ok();
}

#[test]
fn keys_are_made_only_where_that_is_wanted() {
    let home = home();
    home.file("cart.wasm", component());
    let refused = home.wash("claims sign cart.wasm --disable-keygen");
    assert_eq!(refused.code, Some(3), "{refused}");
    assert!(refused.stderr.contains("ada_account.nk"), "{refused}");
    let wrong = SigningKey::generate(KeyKind::Provider).seed();
    let refused = home.run(&["claims", "sign", "cart.wasm", "-i", wrong.expose()]);
    assert_eq!(refused.code, Some(2), "{refused}");
    assert!(!refused.to_string().contains(wrong.expose()), "{refused}");
    assert!(!home.path().join("cart_s.wasm").exists());
    home.file("note.wasm", "no wasm");
    let refused = home.wash("claims sign note.wasm");
    assert_eq!(refused.code, Some(8), "{refused}");
}

#[test]
fn the_keys_of_1x_are_used_where_no_folder_is_named() {
    let home = home();
    home.file("cart.wasm", component());
    let key = |kind, name: &str| {
        let key = SigningKey::generate(kind);
        let file = format!(".wash/keys/{name}.nk");
        home.file(&file, key.seed().expose());
        key.public_key()
    };
    let account = key(KeyKind::Account, "ada_account");
    let subject = key(KeyKind::Component, "cart_module");
    let line = "claims sign cart.wasm --disable-keygen -o json";
    let signed = home.wash(line).ok().json();
    assert_eq!(signed["issuer"], account.as_str());
    assert_eq!(signed["subject"], subject.as_str());
    // Keys of our own go first, and a folder that is named is the only one.
    let own = SigningKey::generate(KeyKind::Account);
    let kept = ".local/share/wash/keys/ada_account.nk";
    home.file(kept, own.seed().expose());
    let signed = home.wash(line).ok().json();
    assert_eq!(signed["issuer"], own.public_key().as_str());
    let named = home.wash(&format!("{line} --directory elsewhere"));
    assert_eq!(named.code, Some(3), "{named}");
}

#[test]
fn a_project_is_signed_with_the_keys_of_1x_before_our_own() {
    let home = home();
    home.file("cart.wasm", component());
    let key = |folder: &str| {
        let key = SigningKey::generate(KeyKind::Account);
        let file = format!("{folder}/ada_account.nk");
        home.file(&file, key.seed().expose());
        key.public_key()
    };
    let of_1x = key(".wash/keys");
    let own = key(".local/share/wash/keys");
    let line = "claims sign cart.wasm -o json";
    let issuer = |home: &Home| home.wash(line).ok().json()["issuer"].clone();
    assert_eq!(issuer(&home), own.as_str());
    home.file(
        "wasmcloud.toml",
        "name = 'shop'\nlanguage = 'other'\ntype = 'component'\n",
    );
    assert_eq!(issuer(&home), of_1x.as_str());
    let elsewhere = home.with("WASH_KEYS_DIR", "other");
    assert_eq!(issuer(&elsewhere), of_1x.as_str());
    std::fs::remove_file(elsewhere.path().join("wasmcloud.toml")).unwrap();
    let made = issuer(&elsewhere);
    assert!(made != of_1x.as_str() && made != own.as_str(), "{made}");
}

#[test]
fn keys_are_called_after_the_user_as_the_system_names_them() {
    for user in ["alice@corp.example", "CORP\\bob", "a b+c"] {
        let home = Home::new().with("USER", user);
        home.file("cart.wasm", component());
        home.wash("claims sign cart.wasm").ok();
        let kept = home.path().join(".local/share/wash/keys");
        assert!(kept.join(format!("{user}_account.nk")).is_file(), "{user}");
    }
    for user in ["../x", ".x"] {
        let home = Home::new().with("USER", user);
        home.file("cart.wasm", component());
        home.wash("claims sign cart.wasm").ok();
        let kept = home.path().join(".local/share/wash/keys");
        assert!(kept.join("user_account.nk").is_file(), "{user}");
    }
}

#[test]
fn an_archive_is_made_added_to_and_looked_at() {
    let home = home();
    home.file("kv", "#!/bin/sh\n");
    home.file("kv-arm", "#!/bin/sh\n# arm\n");
    home.file("schema.json", r#"{"type":"object"}"#);
    home.file(
        "wit/kv.wit",
        "package test:kv@0.1.0;\ninterface store { get: func() -> string; }\n",
    );
    let made = home.wash(
        "par create -b kv -n kv -v Example -r 4 --version 0.9.0 -a x86_64-linux -j schema.json \
         --wit-directory wit --compress --expires 9 -o json",
    );
    assert_eq!(made.clone().ok().json()["file"], "kv.par.gz", "{made}");
    home.wash("par insert kv.par.gz -a aarch64-linux -b kv-arm")
        .ok();
    let far = home.wash("par insert kv.par.gz -a aarch64-macos -b kv --disable-keygen -d none");
    assert_eq!(far.code, Some(3), "{far}");
    let schema = home.file("env.json", r#"{"title":"env"}"#);
    let by_env = home
        .command()
        .args("par create -b kv -n kv -v Example -d keys --destination env.par".split(' '))
        .env("WASH_JSON_SCHEMA", schema)
        .status()
        .unwrap();
    assert!(by_env.success());
    assert!(home.path().join("keys/ada_account.nk").is_file());
    let shown = home.wash("par inspect env.par -o json").ok().json();
    assert_eq!(shown["schema"]["title"], "env");
    let shown = home.wash("par inspect kv.par.gz -o json").ok().json();
    assert_eq!(
        shown["targets"],
        serde_json::json!(["x86_64-linux", "aarch64-linux"])
    );
    assert_eq!(
        (&shown["version"], &shown["revision"]),
        (&"0.9.0".into(), &4.into())
    );
    assert_eq!(shown["schema"]["type"], "object");
    let wit = home.wash("par inspect kv.par.gz --wit").ok().stdout;
    assert!(wit.contains("interface store"), "{wit}");

    let file = std::fs::File::open(home.path().join("kv.par.gz")).unwrap();
    let limits = ArchiveLimits::default();
    let archive = ProviderArchive::read(file, Keep::All, limits, epoch_seconds()).unwrap();
    assert_eq!(archive.claims.issuer, shown["issuer"].as_str().unwrap());
    assert!(
        archive.claims.expires.is_some(),
        "what is inserted changes no dates"
    );
    let other = SigningKey::generate(KeyKind::Provider).seed();
    let refused = home.run(&[
        "par",
        "insert",
        "kv.par.gz",
        "-a",
        "x-y",
        "-b",
        "kv",
        "-s",
        other.expose(),
    ]);
    assert_eq!(refused.code, Some(2), "{refused}");
}

#[test]
fn an_archive_that_was_changed_is_not_signed_anew() {
    let home = home();
    home.file("kv", "the program");
    home.wash("par create -b kv -n kv -v Example -a x86_64-linux")
        .ok();
    let path = home.path().join("kv.par");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes
        .windows(11)
        .position(|part| part == b"the program")
        .unwrap();
    bytes[at] = b'T';
    std::fs::write(&path, bytes).unwrap();
    let refused = home.wash("par insert kv.par -a aarch64-linux -b kv");
    assert_eq!(refused.code, Some(8), "{refused}");
    assert!(refused.stderr.contains("hash mismatch"), "{refused}");
}

#[test]
fn tokens_of_accounts_make_a_chain() {
    let home = home();
    let key = |kind| SigningKey::generate(kind);
    let (operator, account) = (key(KeyKind::Operator), key(KeyKind::Account));
    let further = key(KeyKind::Account).public_key();
    let (signer, subject) = (operator.seed(), account.seed());
    let made = home.run(&[
        "claims",
        "token",
        "account",
        "-n",
        "shop",
        "-i",
        signer.expose(),
        "-s",
        subject.expose(),
        "-a",
        &further,
        "-x",
        "1",
    ]);
    let token = made.ok().stdout;
    let mut issuers = TrustedIssuers::default();
    issuers.trust(&operator.public_key()).unwrap();
    issuers.add_token(token.trim()).unwrap();
    for key in [&account.public_key(), &further] {
        assert_eq!(issuers.check(key, epoch_seconds()), Ok(()));
    }
    assert!(
        issuers
            .check(&further, epoch_seconds() + 2 * 86_400)
            .is_err()
    );
    let own = home.run(&[
        "claims",
        "token",
        "operator",
        "-n",
        "ops",
        "-i",
        signer.expose(),
    ]);
    issuers.add_token(own.ok().stdout.trim()).unwrap();
    for line in [
        "component -n cart",
        "provider -n kv --vendor Example",
        "provider -n kv -v Example -e 1.0.0",
    ] {
        let token = home
            .wash(&format!("claims token {line} -o json"))
            .ok()
            .json();
        assert_eq!(token["token"].as_str().unwrap().split('.').count(), 3);
    }
    let wrong = home.run(&[
        "claims",
        "token",
        "account",
        "-n",
        "x",
        "-i",
        signer.expose(),
        "-a",
        &operator.public_key(),
    ]);
    assert_eq!(wrong.code, Some(2), "{wrong}");
}

#[test]
fn rules_are_tried_without_a_lattice() {
    let home = home();
    home.file(
        "rules.toml",
        "[[rule]]\nname = \"carts\"\nid = \"cart*\"\ndecision = \"allow\"\n",
    );
    let request = |id: &str| {
        format!(
            r#"{{"requestId":"1","kind":"startComponent","version":"v1",
            "host":{{"publicKey":"N","lattice":"default","labels":{{}}}},
            "request":{{"componentId":"{id}","imageRef":"file:///c","maxInstances":1,
            "annotations":{{}},"claims":null}}}}"#
        )
    };
    home.file("cart.json", request("cart2"));
    home.file("evil.json", request("evil"));
    expect(
        &home.wash("policy test rules.toml cart.json"),
        "
-- stdout
startComponent is allowed by the rule `carts`
-- exit 0",
    );
    expect(
        &home.wash("policy test rules.toml evil.json"),
        "
-- stdout
startComponent is denied by the default: no rule allows it
-- exit 4",
    );
    home.file("broken.toml", "[[rule]]\nid = \"x\"\n");
    let refused = home.wash("policy test broken.toml cart.json");
    assert_eq!(refused.code, Some(8), "{refused}");
    assert!(refused.stderr.contains("decision"), "{refused}");
    home.file("none.json", "[]");
    assert_eq!(home.wash("policy test rules.toml none.json").code, Some(8));
}
