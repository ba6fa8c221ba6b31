//! Feeds text to every parser of `lattice-core`; what one accepts must format
//! and parse back to itself.
#![no_main]

use lattice_core::event::CloudEvent;
use lattice_core::identity::CallProof;
use lattice_core::provider::HostData;
use lattice_core::record::{ComponentSpec, StoredClaims};
use lattice_core::reference::Reference;
use lattice_core::subject::{ControlSubjects, SecretsSubjects, TopicPrefix, event, rpc, store};
use lattice_core::{
    BackendName, ComponentId, HostId, ImageRef, InterfaceRef, LatticeName, Link, LinkName,
    ResolvedLink, WitName, config,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = HostData::from_line(data);
    let _ = config::parse(data);
    json(data);
    if let Ok(text) = std::str::from_utf8(data) {
        ids(text);
        subjects(text);
    }
});

fn json(data: &[u8]) {
    if let Ok(event) = serde_json::from_slice::<CloudEvent>(data) {
        let text = serde_json::to_string(&event).expect("a read event is written");
        let again: CloudEvent = serde_json::from_str(&text).expect("a written event is read");
        assert_eq!(again.event.name(), event.event.name());
    }
    if let Ok(link) = serde_json::from_slice::<Link>(data) {
        let _ = link.check();
        assert!(link.replaces(&link) && !link.conflicts_with(&link));
    }
    let _ = serde_json::from_slice::<ResolvedLink>(data);
    let _ = serde_json::from_slice::<ComponentSpec>(data);
    if let Ok(claims) = serde_json::from_slice::<StoredClaims>(data) {
        let _ = claims.to_claims_map();
    }
}

fn ids(text: &str) {
    if let Ok(id) = ComponentId::new(text) {
        assert_eq!(ComponentId::new(id.to_string()).as_ref(), Ok(&id));
        let key = store::component_key(&id);
        assert_eq!(
            store::parse_lattice_key(&key),
            store::LatticeKey::Component(id)
        );
    }
    let _ = (
        HostId::new(text),
        LatticeName::new(text),
        LinkName::new(text),
        WitName::new(text),
    );
    if let Ok(proof) = text.parse::<CallProof>() {
        assert_eq!(proof.text().parse(), Ok(proof));
    }
    if let Ok(interface) = text.parse::<InterfaceRef>() {
        assert_eq!(interface.to_string().parse().as_ref(), Ok(&interface));
    }
    if let Ok(image) = ImageRef::new(text)
        && let Ok(Reference::Registry(found)) = Reference::parse(&image)
    {
        let again = format!("oci://{found}").parse::<Reference>();
        assert_eq!(again, Ok(Reference::Registry(found)));
    }
}

fn subjects(text: &str) {
    let control = ControlSubjects::new(&TopicPrefix::default(), &LatticeName::default());
    if let Ok(op) = control.parse(text) {
        assert_eq!(control.subject(&op), text);
    }
    if let Ok(op) = control.parse(&format!("wasmbus.ctl.v1.default.{text}")) {
        assert_eq!(control.parse(&control.subject(&op)), Ok(op));
    }
    if let Ok(backend) = BackendName::new("nats") {
        let secrets = SecretsSubjects::new(&TopicPrefix::default(), &backend);
        let _ = (
            secrets.parse(text),
            secrets.parse(&format!("{}.{text}", secrets.get())),
        );
    }
    let _ = text.parse::<TopicPrefix>();
    let _ = rpc::parse_invocation(text);
    let _ = rpc::undecorated(text);
    let _ = rpc::interface_of(text);
    let _ = event::parse(text);
    if let Some((link, endpoint, host)) = store::parse_link_status_key(text) {
        let key = store::link_status_key(&link, &endpoint, &host);
        assert_eq!(
            store::parse_link_status_key(&key),
            Some((link, endpoint, host))
        );
    }
}
