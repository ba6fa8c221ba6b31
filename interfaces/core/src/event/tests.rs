//! The envelope and the names of events.

use super::*;
use crate::ErrorCode;

fn host() -> HostId {
    HostId::new("NAJFSUSOSOQSJBI3OXWQAQX7L2I3QWKFE6RBHJFWRZTZQFB2VUI4ZD2C").unwrap()
}

#[test]
fn keys_of_event_data_are_sorted() {
    let mut data = ComponentScaled {
        component_id: "c".into(),
        ..ComponentScaled::default()
    };
    data.annotations.insert("z".into(), "1".into());
    data.annotations.insert("a".into(), "2".into());
    let time = OffsetDateTime::from_unix_timestamp_nanos(1_795_202_218_416_434_164).unwrap();
    let event = CloudEvent::new("id".into(), &host(), time, Event::ComponentScaled(data));
    let text = serde_json::to_string(&event).unwrap();
    assert!(text.ends_with(
        r#""time":"2026-11-20T19:16:58.416434164Z","data":{"annotations":{"a":"2","z":"1"},"component_id":"c","host_id":"","image_ref":"","max_instances":0}}"#
    ), "{text}");
    assert_eq!(serde_json::from_str::<CloudEvent>(&text).unwrap(), event);
    assert_eq!(event.timestamp().unwrap(), time);
}

#[test]
fn ids_are_ulids_in_uuid_form() {
    let ulid = ulid::Ulid::from_parts(1, 2);
    assert_eq!(event_id(ulid), "00000000-0001-0000-0000-000000000002");
    let first = CloudEvent::now(&host(), Event::ConfigSet(ConfigChanged::default()));
    let second = CloudEvent::now(&host(), Event::ConfigSet(ConfigChanged::default()));
    assert_ne!(first.id, second.id);
    assert_eq!(first.id.len(), 36);
}

#[test]
fn unknown_events_are_kept() {
    let text = r#"{"specversion":"1.0","id":"1","type":"com.wasmcloud.lattice.new_thing","source":"N","datacontenttype":"application/json","time":"t","data":{"a":[{"b":1,"c":null}]}}"#;
    let event: CloudEvent = serde_json::from_str(text).unwrap();
    assert_eq!(event.event.name(), "new_thing");
    assert_eq!(event.event.kind(), None);
    assert_eq!(serde_json::to_string(&event).unwrap(), text);
}

fn of_1_9(name: &str, data: &str) -> Event {
    let text =
        format!(r#"{{"id":"1","type":"com.wasmcloud.lattice.{name}","source":"N","data":{data}}}"#);
    serde_json::from_str::<CloudEvent>(&text).unwrap().event
}

#[test]
fn providers_without_claims_or_version_have_started_too() {
    let built_in =
        r#"{"annotations":{},"host_id":"N","image_ref":"http-server","provider_id":"web"}"#;
    let Event::ProviderStarted(started) = of_1_9("provider_started", built_in) else {
        panic!("not read");
    };
    assert_eq!((&*started.provider_id, &*started.instance_id), ("web", ""));
    let nameless = r#"{"annotations":{},"claims":{"expires_human":"never","issuer":"A","name":null,
        "not_before_human":"never","tags":null,"version":null},"host_id":"N","image_ref":"i",
        "instance_id":"kv","link_name":"default","provider_id":"kv","public_key":"V"}"#;
    let Event::ProviderStarted(started) = of_1_9("provider_started", nameless) else {
        panic!("not read");
    };
    let claims = started.claims.unwrap();
    assert_eq!(
        (&*claims.issuer, &*claims.name, &*claims.version),
        ("A", "", "")
    );
}

#[test]
fn components_whose_claims_have_no_name_were_scaled_too() {
    let nameless = r#"{"annotations":{},"claims":{"call_alias":null,"expires_human":"never","issuer":"A",
        "name":null,"not_before_human":"never","revision":null,"tags":null,"version":null},
        "component_id":"c","host_id":"N","image_ref":"i","max_instances":1,"public_key":"M"}"#;
    let Event::ComponentScaled(scaled) = of_1_9("component_scaled", nameless) else {
        panic!("not read");
    };
    let claims = scaled.claims.unwrap();
    assert_eq!((&*claims.issuer, &*claims.name), ("A", ""));
    let written = serde_json::to_value(&claims).unwrap();
    assert_eq!(written["name"], "");
}

#[test]
fn data_that_cannot_be_read_is_kept_as_it_is() {
    let event = of_1_9("component_scaled", r#"{"component_id":7}"#);
    assert_eq!((event.name(), event.kind()), ("component_scaled", None));
}

#[test]
fn events_of_strangers_are_refused() {
    let text = r#"{"id":"1","type":"org.example.thing","source":"N"}"#;
    assert!(serde_json::from_str::<CloudEvent>(text).is_err());
}

#[test]
fn failures_to_start_may_carry_a_code_and_a_hint() {
    let mut component = ComponentScaleFailed::default();
    let mut provider = ProviderStartFailed::default();
    let plain = serde_json::to_string(&(&component, &provider)).unwrap();
    assert!(
        !plain.contains("hint") && !plain.contains("code"),
        "{plain}"
    );
    (component.hint, provider.hint) = (Some("build it".into()), Some("find it".into()));
    component.code = Some(ErrorCode::ImageInvalid);
    provider.code = Some(ErrorCode::NotFound);
    let text = serde_json::to_string(&(&component, &provider)).unwrap();
    for part in [
        r#""code":"image-invalid","hint":"build it""#,
        r#""code":"not-found","hint":"find it""#,
    ] {
        assert!(text.contains(part), "{text}");
    }
    let read: (ComponentScaleFailed, ProviderStartFailed) = serde_json::from_str(&text).unwrap();
    assert_eq!(read, (component, provider));
}

#[test]
fn every_kind_is_found_by_its_name() {
    for kind in EventKind::ALL {
        assert_eq!(kind.name().parse::<EventKind>().unwrap(), *kind);
    }
    assert!("linkdef".parse::<EventKind>().is_err());
}

#[test]
fn claim_times_are_seconds_or_never() {
    assert_eq!(claim_time(None), "never");
    assert_eq!(claim_time(Some(12)), "12");
}
