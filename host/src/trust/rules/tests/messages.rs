//! The subjects that messages go to, and those of the replies they ask for.

use super::*;

#[test]
fn a_message_goes_to_covered_subjects_and_asks_for_replies_there() {
    let gate = gate(
        "wasmcloud:messaging/consumer",
        json!({"subject": ["orders.*"]}),
    );
    let message = |subject: &str, reply: Option<&str>| {
        let mut out = BytesMut::new();
        write::string(&mut out, subject);
        write::bytes(&mut out, b"body");
        write::option(&mut out, reply, write::string);
        out.freeze()
    };
    let refused = |function: &str, params: &Bytes| refusing(&gate, MESSAGES, function, params);
    assert_eq!(refused("publish", &message("orders.1", None)), None);
    assert_eq!(
        refused("publish", &message("orders.1", Some("orders.2"))),
        None
    );
    for params in [
        message("orders.1", Some("admin.stop")),
        message("users.1", None),
        message("orders.>", None),
    ] {
        assert_eq!(refused("publish", &params).as_deref(), Some("subject"));
    }
    assert_eq!(refused("request", &texts(&["orders.1"])), None);
    assert_eq!(
        refused("request", &texts(&["orders"])).as_deref(),
        Some("subject")
    );
}

#[test]
fn messages_with_metadata_are_kept_to_their_subjects_too() {
    const OWN: &str = "lattice:messaging/producer@0.1.0";
    let message = |subject: &str, reply: Option<&str>| {
        let mut out = BytesMut::new();
        write::string(&mut out, subject);
        write::option(&mut out, reply, write::string);
        write::option(&mut out, Some("text/plain"), write::string);
        write::uleb(&mut out, 0);
        write::bytes(&mut out, b"body");
        out.freeze()
    };
    for interface in [
        "lattice:messaging/producer",
        "wasi:messaging/producer",
        "wasi:messaging/request-reply",
        "wasmcloud:messaging/producer",
        "wasmcloud:messaging/consumer",
    ] {
        let gate = gate(interface, json!({"subject": ["orders.*"]}));
        for function in ["publish", "request"] {
            let refused = |params: &Bytes| refusing(&gate, OWN, function, params);
            assert_eq!(refused(&message("orders.1", Some("orders.2"))), None);
            for params in [
                message("users.1", None),
                message("orders.1", Some("users.1")),
            ] {
                let refused = refused(&params);
                assert_eq!(
                    refused.as_deref(),
                    Some("subject"),
                    "{interface} {function}"
                );
            }
        }
    }
}
