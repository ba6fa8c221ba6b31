//! Subjects and keys format and parse back.

use super::*;
use crate::id::{ComponentId, ConfigName, HostId, LatticeName};
use crate::link::LinkKey;
use proptest::prelude::*;
use store::LatticeKey;

const HOST: &str = "NAJFSUSOSOQSJBI3OXWQAQX7L2I3QWKFE6RBHJFWRZTZQFB2VUI4ZD2C";

fn lattice() -> LatticeName {
    LatticeName::default()
}

fn host() -> HostId {
    HostId::new(HOST).unwrap()
}

fn control() -> ControlSubjects {
    ControlSubjects::new(&TopicPrefix::default(), &lattice())
}

fn every_op() -> Vec<ControlOp> {
    let config = ConfigName::new("http").unwrap();
    vec![
        ControlOp::ComponentAuction,
        ControlOp::ProviderAuction,
        ControlOp::ComponentScale(host()),
        ControlOp::ComponentUpdate(host()),
        ControlOp::ProviderStart(host()),
        ControlOp::ProviderStop(host()),
        ControlOp::HostGet(host()),
        ControlOp::HostPing,
        ControlOp::HostStop(host()),
        ControlOp::LabelPut(host()),
        ControlOp::LabelDelete(host()),
        ControlOp::ClaimsGet,
        ControlOp::LinkGet,
        ControlOp::LinkPut,
        ControlOp::LinkDelete,
        ControlOp::ConfigGet(config.clone()),
        ControlOp::ConfigPut(config.clone()),
        ControlOp::ConfigDelete(config),
        ControlOp::RegistryPut,
    ]
}

#[test]
fn every_operation_formats_and_parses_back() {
    for op in every_op() {
        assert_eq!(control().parse(&control().subject(&op)), Ok(op));
    }
    let scale = control().subject(&ControlOp::ComponentScale(host()));
    assert_eq!(
        scale,
        format!("wasmbus.ctl.v1.default.component.scale.{HOST}")
    );
}

#[test]
fn subjects_that_name_no_operation_are_refused() {
    for tail in [
        "host.bogus.x",
        "config.get.a.b",
        "link",
        "",
        "host.get",
        "link.put.x",
        "a",
    ] {
        let subject = format!("wasmbus.ctl.v1.default.{tail}");
        let error = control().parse(&subject).unwrap_err();
        assert_eq!(error.to_string(), "unsupported subject", "{subject}");
    }
    assert!(control().parse("wasmbus.ctl.v1.other.host.ping").is_err());
    assert!(
        control()
            .parse("wasmbus.ctl.v1.default2.host.ping")
            .is_err()
    );
    assert!(matches!(
        control().parse("wasmbus.ctl.v1.default.host.get.nobody"),
        Err(UnsupportedSubject::Tail(_))
    ));
}

#[test]
fn filters_cover_every_operation_and_use_the_queue_groups() {
    let filters = control().filters(&host(), true, true);
    for op in every_op() {
        let subject = control().subject(&op);
        let matching = filters
            .iter()
            .filter(|f| matches(&f.subject, &subject))
            .count();
        assert_eq!(matching, 1, "{subject}");
    }
    let queue = |tail: &str| {
        let subject = format!("wasmbus.ctl.v1.default.{tail}");
        filters
            .iter()
            .find(|f| f.subject == subject)
            .unwrap()
            .queue
            .clone()
    };
    assert_eq!(
        queue("link.*").as_deref(),
        Some("wasmbus.ctl.v1.default.link")
    );
    assert_eq!(
        queue("claims.get").as_deref(),
        Some("wasmbus.ctl.v1.default.claims")
    );
    assert_eq!(
        queue("config.>").as_deref(),
        Some("wasmbus.ctl.v1.default.config")
    );
    assert_eq!(queue("host.ping"), None);
    assert_eq!(
        control().filters(&host(), false, false).len(),
        filters.len() - 2
    );
}

/// Whether a NATS filter matches a subject.
fn matches(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for part in filter.split('.') {
        match (part, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (part, Some(token)) if part == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[test]
fn topic_prefixes_may_have_several_tokens() {
    let prefix: TopicPrefix = "ACC.wasmbus.ctl".parse().unwrap();
    let subjects = ControlSubjects::new(&prefix, &lattice());
    let ping = subjects.subject(&ControlOp::HostPing);
    assert_eq!(ping, "ACC.wasmbus.ctl.v1.default.host.ping");
    for bad in ["", ".", "a.", "a..b", "a.*", "a b", ">"] {
        assert!(bad.parse::<TopicPrefix>().is_err(), "{bad}");
    }
}

#[test]
fn calls_have_the_subjects_of_the_recording() {
    let prefix = RpcPrefix::new(&lattice(), &ComponentId::new("kvredis").unwrap());
    assert_eq!(prefix.queue_group(), "default.kvredis");
    let subject = prefix.invocation("wrpc:keyvalue/store@0.2.0-draft", "get");
    assert_eq!(
        subject,
        "default.kvredis.wrpc.0.0.1.wrpc:keyvalue/store@0.2.0-draft.get"
    );
    assert_eq!(
        prefix.invocation("", "run"),
        "default.kvredis.wrpc.0.0.1.run"
    );
    let (found_lattice, target, operation) = rpc::parse_invocation(&subject).unwrap();
    assert_eq!(
        (found_lattice.as_str(), target.as_str()),
        ("default", "kvredis")
    );
    assert_eq!(operation, "wrpc:keyvalue/store@0.2.0-draft.get");
}

#[test]
fn resource_functions_lose_their_decoration() {
    let names = [
        ("[constructor]bucket", "bucket"),
        ("[method]bucket.get", "bucket.get"),
        ("[static]x.y", "x.y"),
        ("get", "get"),
        ("[odd", "[odd"),
    ];
    for (decorated, plain) in names {
        assert_eq!(rpc::undecorated(decorated), plain);
    }
}

#[test]
fn the_interface_of_an_operation_ends_where_version_or_function_begins() {
    for (operation, interface) in [
        ("a:b/c@0.2.0-draft.get", "a:b/c"),
        ("a:b/c@0.2.0-draft.bucket.get", "a:b/c"),
        ("a:b/c.bucket.get", "a:b/c"),
        ("a:b/c.get-many", "a:b/c"),
        ("a:b/c@0.2.0-draft", "a:b/c"),
        ("a:b/c", "a:b/c"),
        ("run", ""),
        ("bucket.get", ""),
        ("", ""),
    ] {
        assert_eq!(rpc::interface_of(operation), interface, "{operation}");
    }
}

#[test]
fn providers_are_managed_on_the_subjects_of_the_recording() {
    let subjects = ProviderSubjects::new(&lattice(), &ComponentId::new("kv").unwrap());
    let texts = [
        subjects.link_put_sealed("XABC"),
        subjects.link_put(),
        subjects.link_delete(),
        subjects.health(),
        subjects.config_update(),
        subjects.config_update_of("XABC"),
        subjects.shutdown(),
    ];
    let expected = [
        "wasmbus.rpc.default.XABC.linkdefs.put",
        "wasmbus.rpc.default.kv.linkdefs.put",
        "wasmbus.rpc.default.kv.linkdefs.del",
        "wasmbus.rpc.default.kv.health",
        "wasmbus.rpc.default.kv.config.update",
        "wasmbus.rpc.default.XABC.config.update",
        "wasmbus.rpc.default.kv.default.shutdown",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn keys_of_the_bucket_are_told_apart() {
    assert_eq!(store::lattice_bucket(&lattice()), "LATTICEDATA_default");
    assert_eq!(store::config_bucket(&lattice()), "CONFIGDATA_default");
    assert_eq!(store::status_bucket(&lattice()), "LATTICESTATUS_default");
    assert_eq!(store::code_bucket(&lattice()), "CODECACHE_default");
    let id = ComponentId::new("counter").unwrap();
    let key = store::component_key(&id);
    assert_eq!(store::parse_lattice_key(&key), LatticeKey::Component(id));
    assert_eq!(
        store::parse_lattice_key("CLAIMS_V1"),
        LatticeKey::Claims("V1".into())
    );
    assert_eq!(store::parse_lattice_key("LINKDEF_ab"), LatticeKey::Legacy);
    assert_eq!(
        store::parse_lattice_key("COMPONENT_a.b"),
        LatticeKey::Unknown
    );
    assert_eq!(store::parse_lattice_key("CLAIMS_"), LatticeKey::Unknown);
}

#[test]
fn streams_belong_to_one_lattice() {
    for stream in ["KV_LATTICEDATA_a", "KV_LATTICESTATUS_a", "OBJ_CODECACHE_a"] {
        assert!(store::is_stream_of(stream, "a"), "{stream}");
        assert!(!store::is_stream_of(stream, "b"), "{stream}");
    }
    for stream in [
        "KV_counter",
        "KV_CODECACHE_a",
        "OBJ_LATTICEDATA_a",
        "CODECACHE_a",
    ] {
        assert!(!store::is_stream_of(stream, "a"), "{stream}");
    }
}

#[test]
fn event_subjects_format_and_parse_back() {
    let subject = event::event(&lattice(), "host_started");
    assert_eq!(subject, "wasmbus.evt.default.host_started");
    assert_eq!(event::parse(&subject), Some((lattice(), "host_started")));
    assert_eq!(event::all_events(&lattice()), "wasmbus.evt.default.*");
    assert_eq!(event::parse("wasmbus.evt.default"), None);
    assert_eq!(event::parse("wasmbus.evt.default.a.b"), None);
}

proptest! {
    #[test]
    fn config_subjects_format_and_parse_back(
        lattice in "[-_a-zA-Z0-9]{1,20}",
        name in "[-_=/a-zA-Z0-9]{1,40}",
    ) {
        let lattice = LatticeName::new(lattice).unwrap();
        let subjects = ControlSubjects::new(&TopicPrefix::default(), &lattice);
        let op = ControlOp::ConfigGet(ConfigName::new(name).unwrap());
        prop_assert_eq!(subjects.parse(&subjects.subject(&op)), Ok(op));
    }

    #[test]
    fn call_subjects_format_and_parse_back(
        target in "[-_=/a-zA-Z0-9]{1,40}",
        instance in "[a-z]{1,5}:[a-z]{1,5}/[a-z]{1,5}(@[0-9]\\.[0-9]\\.[0-9])?",
        function in "[a-z]{1,5}(\\.[a-z]{1,5})?",
    ) {
        let target = ComponentId::new(target).unwrap();
        let subject = RpcPrefix::new(&LatticeName::default(), &target)
            .invocation(&instance, &function);
        let (_, found, operation) = rpc::parse_invocation(&subject).unwrap();
        prop_assert_eq!(found, target);
        prop_assert_eq!(operation, format!("{instance}.{function}"));
    }

    #[test]
    fn link_status_keys_format_and_parse_back(
        ids in prop::array::uniform2("[-_=/a-zA-Z0-9]{1,20}"),
        name in "\\PC{1,12}",
    ) {
        prop_assume!(!name.contains(char::is_whitespace));
        let [source, endpoint] = ids;
        let link = LinkKey::new(&source, "wasi", "keyvalue", &name).unwrap();
        let endpoint = ComponentId::new(endpoint).unwrap();
        let key = store::link_status_key(&link, &endpoint, HOST);
        prop_assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-/_=.".contains(&b)));
        prop_assert_eq!(store::parse_link_status_key(&key), Some((link, endpoint, HOST.into())));
    }

    #[test]
    fn no_text_makes_a_subject_parser_panic(text in any::<String>()) {
        let _ = control().parse(&text);
        let _ = control().parse(&format!("wasmbus.ctl.v1.default.{text}"));
        let _ = rpc::parse_invocation(&text);
        let _ = rpc::interface_of(&text);
        let _ = event::parse(&text);
        let _ = store::parse_lattice_key(&text);
        let _ = store::parse_link_status_key(&format!("LINK.{text}"));
    }
}
