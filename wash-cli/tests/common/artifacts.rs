//! Small components and archives to look at.

use lattice_claims::archive::ArchiveBuilder;
use lattice_claims::component::ValidTimes;
use lattice_claims::{ComponentMetadata, KeyKind, ProviderMetadata, SigningKey, sign_component};
use wasm_encoder::{
    Component, ComponentExportKind, ComponentExportSection, ComponentImportSection,
    ComponentTypeRef, ComponentTypeSection, ComponentValType, InstanceType, PrimitiveValType,
};

/// A component that imports `test:demo/source` and exports it again as `test:demo/sink`.
pub fn component() -> Vec<u8> {
    let mut exports = ComponentExportSection::new();
    exports.export(
        "test:demo/sink@0.1.0",
        ComponentExportKind::Instance,
        0,
        None,
    );
    let mut component = importing();
    component.section(&exports);
    component.finish()
}

/// A component that imports `test:demo/source` and can be run, to no effect.
pub fn importer() -> Vec<u8> {
    importing().finish()
}

fn importing() -> Component {
    let mut interface = InstanceType::new();
    interface
        .ty()
        .function()
        .params([("key", ComponentValType::Primitive(PrimitiveValType::String))])
        .result(Some(ComponentValType::Primitive(PrimitiveValType::U64)));
    interface.export("read", ComponentTypeRef::Func(0));
    let mut types = ComponentTypeSection::new();
    types.instance(&interface);
    let mut imports = ComponentImportSection::new();
    imports.import("test:demo/source@0.1.0", ComponentTypeRef::Instance(0));
    let mut component = Component::new();
    component.section(&types).section(&imports);
    component
}

/// Signs a component. Returns the keys of signer and component, too.
pub fn signed(component: &[u8]) -> (Vec<u8>, String, String) {
    let signer = SigningKey::generate(KeyKind::Account);
    let subject = SigningKey::generate(KeyKind::Component);
    let metadata = ComponentMetadata {
        name: Some("demo".into()),
        tags: Some(vec!["a".into(), "b".into()]),
        revision: Some(3),
        version: Some("0.2.0".into()),
        ..ComponentMetadata::default()
    };
    let times = ValidTimes::from(1_700_000_000);
    let bytes = sign_component(component, metadata, &signer, &subject, times).unwrap();
    (bytes, signer.public_key(), subject.public_key())
}

/// A provider archive for two targets.
pub fn archive() -> (Vec<u8>, String, String) {
    let signer = SigningKey::generate(KeyKind::Account);
    let subject = SigningKey::generate(KeyKind::Provider);
    let times = ValidTimes::from(1_700_000_000);
    let bytes = packed(&signer, &subject, times, true);
    (bytes, signer.public_key(), subject.public_key())
}

/// The same, signed for these times by whoever.
pub fn archive_of(times: ValidTimes, compress: bool) -> Vec<u8> {
    let signer = SigningKey::generate(KeyKind::Account);
    let subject = SigningKey::generate(KeyKind::Provider);
    packed(&signer, &subject, times, compress)
}

fn packed(signer: &SigningKey, subject: &SigningKey, times: ValidTimes, compress: bool) -> Vec<u8> {
    let metadata = ProviderMetadata {
        name: Some("kv".into()),
        vendor: "Example".into(),
        version: Some("1.0.0".into()),
        revision: Some(1),
        ..ProviderMetadata::default()
    };
    let builder = ArchiveBuilder::new(metadata)
        .library("x86_64-linux", b"one".to_vec())
        .unwrap()
        .library("aarch64-linux", b"two".to_vec())
        .unwrap();
    let mut bytes = Vec::new();
    builder
        .write(&mut bytes, compress, signer, subject, times)
        .unwrap();
    bytes
}
