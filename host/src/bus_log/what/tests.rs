//! What refused subjects are taken for.

use std::collections::HashSet;

use super::*;

fn known() -> Known {
    let config = HostConfig::new(LatticeName::default());
    Known::of(&config, |id| id.as_str() == "vault")
}

#[test]
fn what_the_lattice_has_is_of_a_sort_of_its_own() {
    let known = known();
    let all = [
        "wasmbus.ctl.v1.default.link.put",
        "wasmbus.ctl.v1.default.link.del",
        "wasmbus.ctl.v1.default.config.put.store",
        "wasmbus.ctl.v1.default.>",
        "wasmbus.ctl.v1.default.made.up",
        "wasmbus.ctl.v1.other.link.put",
        "wasmbus.evt.default.component_scaled",
        "wasmbus.evt.default.host_stopped",
        "wasmbus.evt.default.*",
        "wasmbus.rpc.default.vault.linkdefs.put",
        "default.vault.wrpc.0.0.1.x.y",
        "default.vault.inbox.X.1",
        "default.vault.a",
        "default.*.wrpc.>",
        "$KV.CONFIGDATA_default.x",
        "$KV.LATTICEDATA_default.x",
        "$KV.>",
        "$JS.API.STREAM.INFO.KV_CONFIGDATA_default",
        "$JS.API.STREAM.DELETE.KV_CONFIGDATA_default",
        "$JS.API.CONSUMER.CREATE.KV_CONFIGDATA_default.x",
        "$JS.API.STREAM.INFO.KV_LATTICEDATA_default",
        "$JS.API.STREAM.NAMES",
        "$JS.API.MADE.UP.KV_CONFIGDATA_default",
        "_INBOX.x.1",
        "_INBOX.>",
    ];
    let sorts: HashSet<_> = all.iter().map(|subject| known.what(subject)).collect();
    assert_eq!(sorts.len(), all.len(), "{sorts:#?}");
    for (one, other) in [
        (
            "STREAM.PEER.REMOVE.KV_CONFIGDATA_default",
            "STREAM.DELETE.KV_CONFIGDATA_default",
        ),
        (
            "STREAM.LEADER.STEPDOWN.KV_CONFIGDATA_default",
            "STREAM.DELETE.KV_CONFIGDATA_default",
        ),
        (
            "CONSUMER.UNPIN.KV_CONFIGDATA_default.x",
            "CONSUMER.INFO.KV_CONFIGDATA_default.x",
        ),
        ("STREAM.LIST", "INFO"),
        ("A.KV_CONFIGDATA_default.B", "MADE.UP.KV_CONFIGDATA_default"),
    ] {
        let what = |request: &str| known.what(&format!("$JS.API.{request}"));
        assert_eq!(what(one), what(other), "{one}");
    }
    // Neither made-up names nor the rest of a subject take anybody to these.
    for number in 0..100 {
        for (made_up, own) in [
            (format!("x.{number}"), all[0]),
            (format!("wasmbus.ctl.v1.default.x.{number}"), all[0]),
            (format!("wasmbus.evt.default.x{number}"), all[7]),
            (format!("default.x{number}.wrpc.0.0.1.x.y"), all[10]),
            (format!("$KV.x{number}.x"), all[14]),
            (format!("$JS.API.STREAM.DELETE.KV_x{number}"), all[18]),
            (format!("$JS.API.x{number}.KV_CONFIGDATA_default"), all[18]),
        ] {
            assert_ne!(known.what(&made_up), known.what(own), "{made_up}");
        }
    }
}

#[test]
fn made_up_names_are_of_few_sorts() {
    let known = known();
    let sorts = |subject: fn(u32) -> String| {
        let sorts = (0..1000).map(|number| known.what(&subject(number)));
        sorts.collect::<HashSet<_>>().len() as u64
    };
    assert!(sorts(|n| format!("x{n}.y")) <= GROUPS);
    assert!(sorts(|n| format!("default.x{n}.wrpc.0.0.1.x.y")) <= GROUPS);
    assert!(sorts(|n| format!("$JS.API.STREAM.INFO.x{n}")) <= GROUPS);
    assert_eq!(sorts(|n| format!("default.vault.wrpc.0.0.1.x.y{n}")), 1);
}
