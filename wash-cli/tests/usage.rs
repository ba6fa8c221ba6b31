//! What `wash` prints and returns without a lattice: usage errors, help, no server, completions.

mod common;

use std::io::Write;
use std::process::Stdio;

use common::{Home, expect, free_port};

#[test]
fn a_misspelt_command_gets_a_suggestion() {
    expect(
        &Home::new().wash("get hots"),
        "
-- stderr
error[WASH0002]: unrecognized subcommand 'hots'
hint: some similar subcommands exist: 'hosts', 'host'; usage: wash get [OPTIONS] <COMMAND>
-- exit 2",
    );
}

#[test]
fn a_usage_error_is_a_document_when_json_is_asked_for() {
    expect(
        &Home::new().wash("link put -o json a b"),
        r#"
-- stdout
{
  "success": false,
  "api": "wash/v1",
  "command": "link put",
  "error": {
    "code": "WASH0002",
    "message": "the following required arguments were not provided: <INTERFACE>...",
    "causes": [],
    "hint": "usage: wash link put [OPTIONS] <SOURCE> <TARGET> <NAMESPACE:PACKAGE/INTERFACE>..."
  },
  "exit": 2
}
-- stderr
error[WASH0002]: the following required arguments were not provided: <INTERFACE>...
-- exit 2"#,
    );
}

#[test]
fn a_locality_that_is_none_is_refused_with_those_there_are() {
    expect(
        &Home::new().wash("link put a b wasi:keyvalue/store --locality near"),
        "
-- stderr
error[WASH0002]: invalid value 'near' for '--locality <LOCALITY>' [possible values: prefer-local, spread, local-only]
-- exit 2",
    );
}

#[test]
fn wide_is_refused_where_there_are_no_more_columns() {
    expect(
        &Home::new().wash("get inventories -o wide"),
        "
-- stderr
error[WASH0002]: `wash get inventory` has no output `wide`
hint: use `-o text` or `-o json`; `wash get links` has `-o wide`
-- exit 2",
    );
    let unknown = Home::new().wash("get links -o broad");
    assert_eq!(unknown.code, Some(2), "{unknown}");
    assert!(
        unknown
            .stderr
            .contains("[possible values: text, json, wide]"),
        "{unknown}"
    );
}

#[test]
fn without_a_command_the_help_goes_to_stderr() {
    let outcome = Home::new().wash("");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""));
    assert!(
        outcome.stderr.contains("Usage: wash [OPTIONS] [COMMAND]"),
        "{outcome}"
    );
}

#[test]
fn help_is_a_result() {
    let outcome = Home::new().wash("get hosts --help");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    assert!(outcome.stdout.contains("--ctl-host"), "{outcome}");
    assert!(!outcome.stdout.contains('\x1b'), "{outcome}");
}

#[test]
fn colour_can_be_forced_and_forbidden() {
    let forced = Home::new().with("CLICOLOR_FORCE", "1").wash("get hots");
    assert!(
        forced
            .stderr
            .starts_with("\x1b[1;31merror[WASH0002]:\x1b[0m"),
        "{forced:?}"
    );
    let both = Home::new()
        .with("CLICOLOR_FORCE", "1")
        .with("NO_COLOR", "1")
        .wash("get hots");
    assert!(!both.stderr.contains('\x1b'), "{both:?}");
}

#[test]
fn no_server_is_exit_6_with_a_hint() {
    let port = free_port();
    let outcome = Home::at_port(port)
        .wash("get hosts")
        .without(&port.to_string(), "[PORT]");
    expect(
        &outcome,
        "
-- stderr
error[WASH0030]: could not reach a NATS server at 127.0.0.1:[PORT]
  caused by: IO error: Connection refused (os error 111)
hint: start a lattice here with `wash up -d`, or name another with `--ctl-host` or `--context`
-- exit 6",
    );
}

#[test]
fn no_server_in_json_is_one_document_on_stdout() {
    let port = free_port();
    let outcome = Home::at_port(port)
        .wash("get links -o json")
        .without(&port.to_string(), "[PORT]");
    expect(
        &outcome,
        r#"
-- stdout
{
  "success": false,
  "api": "wash/v1",
  "command": "get links",
  "error": {
    "code": "WASH0030",
    "message": "could not reach a NATS server at 127.0.0.1:[PORT]",
    "causes": [
      "IO error: Connection refused (os error 111)"
    ],
    "hint": "start a lattice here with `wash up -d`, or name another with `--ctl-host` or `--context`"
  },
  "exit": 6
}
-- stderr
error[WASH0030]: could not reach a NATS server at 127.0.0.1:[PORT]
-- exit 6"#,
    );
}

#[test]
fn the_form_of_0_43_is_kept_on_request() {
    let port = free_port();
    let home = Home::at_port(port).with("WASH_COMPAT", "0.43");
    expect(
        &home
            .wash("get links -o json")
            .without(&port.to_string(), "[PORT]"),
        r#"
-- stderr

{
  "success": false,
  "error": "could not reach a NATS server at 127.0.0.1:[PORT]",
  "error_chain": [
    "IO error: Connection refused (os error 111)"
  ]
}
-- exit 1"#,
    );
    assert_eq!(home.wash("status").code, Some(1));
    assert_eq!(home.wash("get hots").code, Some(2));
}

#[test]
fn a_wrong_address_and_a_wrong_lattice_name_are_named() {
    let home = Home::new();
    expect(
        &home.wash("get hosts -x a.b"),
        "
-- stderr
error[WASH0002]: `a.b` is not a valid lattice name: '.' is not allowed, only ASCII letters, digits, `-` and `_`
hint: a lattice name is one word, such as `default`
-- exit 2",
    );
    let outcome = home.wash("get hosts -r no-such-host.invalid");
    assert_eq!(outcome.code, Some(6), "{outcome}");
    assert!(
        outcome.stderr.contains("no-such-host.invalid:4222"),
        "{outcome}"
    );
}

#[test]
fn an_address_with_a_login_is_told_without_it_and_keeps_its_port() {
    let home = Home::new();
    for host in ["me:word@127.0.0.3", "tls://me:word@127.0.0.3:1"] {
        let outcome = home.wash(&format!("get hosts -p 1 -r {host}"));
        assert_eq!(outcome.code, Some(6), "{outcome}");
        assert!(outcome.stderr.contains("at 127.0.0.3:1"), "{outcome}");
        assert!(!outcome.stderr.contains("word"), "{outcome}");
    }
}

#[test]
fn every_variable_of_the_credentials_file_is_read() {
    for name in ["WASH_CTL_CREDS", "WASMCLOUD_CTL_CREDSFILE"] {
        let outcome = Home::at_port(free_port())
            .with(name, "/nowhere/x.creds")
            .wash("get hosts");
        assert_eq!(outcome.code, Some(3), "{name}: {outcome}");
        assert!(
            outcome.stderr.contains("/nowhere/x.creds"),
            "{name}: {outcome}"
        );
    }
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let full = || std::fs::File::options().write(true).open("/dev/full");
    for line in ["keys gen account", "keys list -o json", "keys gen --help"] {
        let home = Home::new();
        let mut command = home.command();
        let status = command.args(line.split(' ')).stdout(full().unwrap());
        let status = status.stderr(std::process::Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(1), "{line}");
    }
}

#[test]
fn an_empty_variable_is_one_that_is_not_set() {
    let home = Home::new()
        .with("WASH_EXPERIMENTAL", "")
        .with("WASMCLOUD_CTL_PORT", "")
        .with("WASMCLOUD_CTL_TIMEOUT_MS", "")
        .with("WASMCLOUD_LATTICE", "");
    let outcome = home.wash("--experimental get hosts -r 127.0.0.3");
    assert_eq!(outcome.code, Some(6), "{outcome}");
    assert!(outcome.stderr.contains("127.0.0.3:4222"), "{outcome}");
}

#[test]
fn the_variable_of_the_credentials_file_goes_before_the_context() {
    let home = Home::new().with("WASMCLOUD_CTL_CREDSFILE", "/nowhere/env.creds");
    home.wash("ctx new edge --credsfile /nowhere/context.creds")
        .ok();
    let outcome = home.wash("get hosts --context edge");
    assert!(outcome.stderr.contains("/nowhere/env.creds"), "{outcome}");
}

#[test]
fn a_context_is_made_again_and_edited() {
    let home = Home::new();
    home.wash("ctx new ci --port 4333").ok();
    home.wash("ctx new ci --port 4444").ok();
    let shown = home.wash("ctx show ci").ok();
    assert!(shown.stdout.contains("ctl_port: 4444"), "{shown}");
    home.run(&["ctx", "edit", "ci", "-e", "sed -i s/4444/4555/"])
        .ok();
    let shown = home.wash("ctx show ci").ok();
    assert!(shown.stdout.contains("ctl_port: 4555"), "{shown}");
}

#[test]
fn a_context_is_asked_for_and_empty_answers_mean_what_the_options_say() {
    let home = Home::new();
    let mut command = home.command();
    let mut child = command
        .args(["ctx", "new", "-i", "--port", "4333"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"edge\n10.0.0.1\n\n west \n").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(output.stdout, b"Created context edge\n");
    let asked = String::from_utf8(output.stderr).unwrap();
    assert!(
        asked.starts_with("Name of the context: Host of the NATS server [127.0.0.1]: "),
        "{asked}"
    );
    let json = home.wash("ctx show edge -o json").ok().json();
    let context = &json["context"];
    assert_eq!(context["ctl_host"], "10.0.0.1");
    assert_eq!(context["rpc_port"], 4333);
    assert_eq!(context["lattice"], "west");
    assert_eq!(context["ctl_credsfile"], serde_json::Value::Null);
    // Nobody answers at all.
    home.wash("ctx new plain -i").ok();
    let nameless = home.wash("ctx new -i");
    assert_eq!(nameless.code, Some(2), "{nameless}");
    assert_eq!(home.wash("ctx new").code, Some(2));
}

#[test]
fn json_without_a_command_is_one_document() {
    let outcome = Home::new().wash("-o json");
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert_eq!(outcome.json()["error"]["code"], "WASH0002");
}

#[test]
fn a_missing_context_lists_those_there_are() {
    let home = Home::new();
    home.wash("ctx new edge --host 10.0.0.1").ok();
    expect(
        &home.wash("get hosts --context west"),
        "
-- stderr
error[WASH0010]: there is no context `west`
hint: these exist: edge
-- exit 3",
    );
}

#[test]
fn contexts_are_made_chosen_and_used() {
    let home = Home::new();
    let port = free_port();
    home.wash(&format!(
        "ctx new edge --host 127.0.0.2 --port {port} -x west"
    ))
    .ok();
    home.wash("ctx use edge").ok();
    expect(
        &home.wash("ctx list"),
        "-- stdout\nedge (default)\n-- exit 0",
    );
    let outcome = home.wash("get hosts");
    assert!(
        outcome.stderr.contains(&format!("127.0.0.2:{port}")),
        "{outcome}"
    );
    let over = home.wash("get hosts -r 127.0.0.3");
    assert!(over.stderr.contains(&format!("127.0.0.3:{port}")), "{over}");
}

#[test]
fn completions_go_to_stdout_or_into_a_folder() {
    let home = Home::new();
    for shell in ["zsh", "bash", "fish", "power-shell"] {
        let outcome = home.wash(&format!("completions {shell}")).ok();
        assert!(outcome.stdout.contains("inventory"), "{shell}");
        assert_eq!(outcome.stderr, "");
    }
    expect(
        &home.wash("completions -d shells zsh"),
        "-- stdout\nWrote the completion script to shells/_wash\n-- exit 0",
    );
    assert!(home.path().join("shells/_wash").is_file());
    let old = Home::new().with("WASH_COMPAT", "0.43");
    let written = old.wash("completions bash -o json").ok().json();
    assert!(
        written["path"].as_str().unwrap().ends_with("/wash.bash"),
        "{written}"
    );
    assert!(old.path().join("wash.bash").is_file());
}

#[test]
fn to_drain_caches_that_there_are_not_is_no_failure() {
    let home = Home::new();
    for cache in ["all", "oci", "lib", "dev", "downloads"] {
        let outcome = home.wash(&format!("drain {cache} -o json")).ok();
        assert!(outcome.stderr.contains("no caches"), "{outcome}");
        assert_eq!(outcome.json()["drained"], serde_json::json!([]));
    }
    assert_eq!(home.wash("drain everything").code, Some(2));
    assert_eq!(home.wash("drain").code, Some(2));
}

#[test]
fn versions_are_text_and_json() {
    let version = env!("CARGO_PKG_VERSION");
    let text = Home::new().wash("--version").ok();
    assert!(
        text.stdout.starts_with(&format!("wash v{version}\n")),
        "{text}"
    );
    let json = Home::new().wash("--version -o json").ok().json();
    assert_eq!(json["wash"], format!("v{version}"));
    assert!(
        json["wasmcloud"].as_str().unwrap().starts_with("v1."),
        "{json}"
    );
    assert_eq!(json["success"], true);
}

#[test]
fn the_version_of_a_nats_server_is_told_where_there_is_one() {
    let server = lattice_nats_box::find_server().unwrap();
    let home = Home::new().with("LATTICE_NATS_SERVER", server.display());
    let json = home.wash("--version -o json").ok().json();
    assert!(
        json["nats-server"].as_str().unwrap().starts_with("v2."),
        "{json}"
    );
    let home = Home::new().with("LATTICE_NATS_SERVER", "/nowhere/nats-server");
    let json = home.wash("--version -o json").ok().json();
    assert_eq!(json.get("nats-server"), None, "{json}");
}

#[test]
fn the_whole_help_is_a_page_of_markdown() {
    let page = Home::new().wash("--help-markdown").ok().stdout;
    assert!(page.starts_with("# `wash`"), "{page}");
    assert!(page.contains("### `wash scale provider`"), "{page}");
}

#[test]
fn an_application_is_not_silently_left_out() {
    let outcome = Home::new().wash("up -d --wadm-manifest app.yaml -o json");
    assert_eq!(outcome.code, Some(2), "{outcome}");
    let error = &outcome.json()["error"];
    assert_eq!(error["code"], "WASH0084");
    assert!(error["message"].to_string().contains("app.yaml"), "{error}");
    assert!(error["hint"].to_string().contains("wash start"), "{error}");
}

#[test]
fn status_and_down_say_that_nothing_runs() {
    let home = Home::new();
    expect(
        &home.wash("status"),
        "
-- stdout
Nothing started by `wash up` runs here; start a lattice with `wash up -d`
-- exit 3",
    );
    expect(
        &home.wash("down"),
        "
-- stdout
Nothing started by `wash up` runs for lattice `default`
-- exit 0",
    );
}
