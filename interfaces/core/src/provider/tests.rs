//! Host data and what providers answer.

use super::*;
use proptest::prelude::*;

#[test]
fn the_line_ends_like_the_recording_and_reads_back() {
    let data = HostData {
        provider_key: "kv".into(),
        ..HostData::default()
    };
    let line = data.to_line().unwrap();
    assert!(line.ends_with("\r\n"));
    assert_eq!(HostData::from_line(line.as_bytes()).unwrap(), data);
    assert_eq!(data.rpc_url(), DEFAULT_NATS_URL);
}

#[test]
fn lines_that_are_not_host_data_are_refused() {
    assert!(matches!(
        HostData::from_line(b" \r\n"),
        Err(HostDataError::Empty)
    ));
    assert!(matches!(
        HostData::from_line(b"***"),
        Err(HostDataError::Base64(_))
    ));
    assert!(matches!(
        HostData::from_line(b"e30="),
        Err(HostDataError::Json(_))
    ));
    let long = vec![b'A'; MAX_HOST_DATA_LINE + 1];
    assert!(matches!(
        HostData::from_line(&long),
        Err(HostDataError::TooLong { .. })
    ));
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let mut data = HostData {
        lattice_rpc_url: SecretText::new("nats://me:word@a"),
        lattice_rpc_user_seed: SecretText::new("SUAM"),
        provider_xkey_private_key: SecretText::new("SXAM"),
        ..HostData::default()
    };
    data.secrets
        .insert("db".into(), SecretValue::String("hunter2".into()));
    let shown = format!("{data:?}");
    assert!(!shown.contains("SUAM") && !shown.contains("SXAM") && !shown.contains("hunter2"));
    assert!(!shown.contains("word"), "{shown}");
    let told = serde_json::to_value(&data).unwrap();
    assert_eq!(told["lattice_rpc_url"], "nats://me:word@a");
}

#[test]
fn secret_values_have_their_wire_form() {
    let text = SecretValue::String("x".into());
    assert_eq!(
        serde_json::to_string(&text).unwrap(),
        r#"{"kind":"String","value":"x"}"#
    );
    let bytes = SecretValue::Bytes(vec![1, 255]);
    assert_eq!(
        serde_json::to_string(&bytes).unwrap(),
        r#"{"kind":"Bytes","value":[1,255]}"#
    );
}

#[test]
fn protocols_are_read_in_lower_case_too() {
    let config: OtelConfig = serde_json::from_str(r#"{"protocol":"grpc"}"#).unwrap();
    assert_eq!(config.protocol, OtelProtocol::Grpc);
}

#[test]
fn a_healthy_answer_without_links_is_that_of_an_old_provider() {
    let text = serde_json::to_string(&HealthCheckResponse::healthy()).unwrap();
    assert_eq!(text, r#"{"healthy":true}"#);
}

#[test]
fn link_reports_have_their_wire_form() {
    let report = LinkReport {
        source_id: "http".into(),
        target: "hello".into(),
        name: "default".into(),
        wit_namespace: "wasi".into(),
        wit_package: "http".into(),
        state: LinkState::Failed,
        reason: Some("in use".into()),
        host_id: "N".into(),
        roads: RoadTally::default(),
    };
    let answer = HealthCheckResponse {
        links: vec![report],
        ..HealthCheckResponse::healthy()
    };
    let text = serde_json::to_string(&answer).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"healthy":true,"links":[{"source_id":"http","target":"hello","name":"default","#,
            r#""wit_namespace":"wasi","wit_package":"http","state":"failed","reason":"in use","host_id":"N"}]}"#
        )
    );
    assert_eq!(
        serde_json::from_str::<HealthCheckResponse>(&text).unwrap(),
        answer
    );
}

#[test]
fn a_source_tells_the_roads_of_its_calls() {
    let text = concat!(
        r#"{"source_id":"http","target":"hello","name":"default","wit_namespace":"wasi","#,
        r#""wit_package":"http","state":"ready","host_id":"N","#,
        r#""roads":{"process":0,"socket":0,"bus":2,"last":"bus","why":{"bus":"no-server-here"}}}"#
    );
    let report: LinkReport = serde_json::from_str(text).unwrap();
    assert_eq!(report.roads.to_string(), "bus 2 (no-server-here)");
    assert_eq!(serde_json::to_string(&report).unwrap(), text);
}

#[test]
fn a_null_message_is_read() {
    let text = r#"{"healthy":false,"message":null}"#;
    assert!(
        !serde_json::from_str::<HealthCheckResponse>(text)
            .unwrap()
            .healthy
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_line_reader_panic(line in any::<Vec<u8>>()) {
        let _ = HostData::from_line(&line);
    }
}
