//! The types here are those of the WIT packages.

use std::any::TypeId;
use std::fmt::Debug;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use lattice_codec::Path;
use lattice_codec::http::{ErrorCode, RequestOptions};
use lattice_core::values as plain;
use proptest::prelude::*;
use wasmtime::Engine;
use wasmtime::component::Component as Code;
use wasmtime::component::types::ComponentItem;
use wit_parser::abi::{AbiVariant, WasmSignature, WasmType};
use wit_parser::{Resolve, WorldId, WorldItem};

use super::super::{Interface, Resources, import_of, signature};
use super::*;
use crate::prepare::wrap;
use crate::testing::{EchoHttp, FakeEnv};
use crate::{
    ByteStream, CallContext, ComponentOptions, HttpBody, ImportTarget, Invoke, Runtime,
    RuntimeConfig, StreamingReply, Value,
};

fn core_type(ty: &WasmType) -> &'static str {
    match ty {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
    }
}

fn core_import(instance: &str, function: &str, signature: &WasmSignature) -> String {
    let types = |types: &[WasmType]| types.iter().map(core_type).collect::<Vec<_>>().join(" ");
    let (params, results) = (types(&signature.params), types(&signature.results));
    format!(r#"(import "{instance}" "{function}" (func (param {params}) (result {results})))"#)
}

/// A component that imports all functions of the world `imports` of a package.
fn importing_all(wit: &str) -> Code {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("package.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some("imports")).unwrap();
    let mut module = String::from("(module");
    for item in resolve.worlds[world].imports.values() {
        let WorldItem::Interface { id, .. } = item else {
            continue;
        };
        let instance = resolve.id_of(*id).unwrap();
        for function in resolve.interfaces[*id].functions.values() {
            let signature = resolve.wasm_signature(AbiVariant::GuestImport, function);
            module += &core_import(&instance, &function.name, &signature);
        }
    }
    module += r#"(memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable))"#;
    let component = component(&resolve, world, &module);
    Code::new(&Engine::default(), component).unwrap()
}

/// A component made of a core module.
fn component(resolve: &Resolve, world: WorldId, module: &str) -> Vec<u8> {
    let mut module = wat::parse_str(module).unwrap();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, resolve, world, encoding, false).unwrap();
    wrap(&module).unwrap()
}

fn imports(wit: &str) -> Vec<Import> {
    let code = importing_all(wit);
    let mut found = Vec::new();
    for (name, import) in code.component_type().imports(code.engine()) {
        let ComponentItem::ComponentInstance(instance) = import.ty else {
            continue;
        };
        for (function, export) in instance.exports(code.engine()) {
            if let ComponentItem::ComponentFunc(func) = export.ty {
                let signature = signature(&func, &Resources::default()).unwrap();
                found.push(import_of(&Interface::new(name), function, signature));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// The functions that have no lane.
fn unknown(wit: &str) -> Vec<String> {
    let imports = imports(wit).into_iter();
    let unknown = imports.filter(|import| find(import).is_none());
    unknown.map(|import| import.function).collect()
}

macro_rules! package {
    ($name:literal) => {
        include_str!(concat!("../../../../../interfaces/wit/lattice-", $name))
    };
}

#[test]
fn the_functions_of_our_packages_are_known() {
    let sql = package!("sql-0.1.0/sql.wit");
    assert_eq!(unknown(sql), ["dialect-of"]);
    let none: [&str; 0] = [];
    let queue = package!("queue-0.1.0/queue.wit");
    assert_eq!(unknown(queue), none);
    assert_eq!(unknown(package!("lock-0.1.0/lock.wit")), none);
    // Its own world exports the handler too.
    let schedule = package!("schedule-0.1.0/schedule.wit");
    let schedule = format!("{schedule}\nworld imports {{ import scheduler; }}");
    assert_eq!(unknown(&schedule), none);
    let messaging = package!("messaging-0.1.0/messaging.wit");
    assert_eq!(unknown(messaging), none);
}

#[test]
fn another_type_makes_a_function_unknown() {
    let changed = package!("lock-0.1.0/lock.wit").replace("ttl-ms: u32,", "ttl-ms: u64,");
    let unknown = unknown(&changed);
    assert!(unknown.contains(&"acquire".to_owned()), "{unknown:?}");
    assert!(!unknown.contains(&"release".to_owned()), "{unknown:?}");
}

#[test]
fn a_target_that_is_gone_is_an_error_of_the_interface_and_no_time_is_a_trap() {
    for import in imports(package!("lock-0.1.0/lock.wit")) {
        let gone = InvokeError::Gone {
            target: "locks".to_owned(),
        };
        let mut answer = lattice_codec::Reader::new(refusal(&import, &gone).unwrap());
        assert!(answer.result_is_err().unwrap());
        assert_eq!(answer.case("error", 7), Ok(5), "unavailable");
        assert!(answer.string().unwrap().contains("locks"));
        assert!(refusal(&import, &InvokeError::Deadline).is_none());
    }
}

/// Checks that what is handed over is the same as what comes over the wire.
fn same<T>(plain: T::Plain)
where
    T: Wire + Plain,
    T::Plain: Clone + PartialEq + Debug,
{
    let handed = T::from_plain(plain.clone());
    let mut out = BytesMut::new();
    handed.encode(&mut out);
    let mut reader = lattice_codec::Reader::new(out.freeze());
    let came = T::decode(&mut reader).unwrap();
    assert_eq!(reader.finish(), Ok(()));
    assert_eq!(handed.into_plain(), plain);
    assert_eq!(came.into_plain(), plain);
}

fn text() -> impl Strategy<Value = String> {
    let letters = prop::collection::vec(any::<char>(), 0..8);
    letters.prop_map(|letters| letters.into_iter().collect())
}

fn blob() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..8).prop_map(Bytes::from)
}

fn sql_value() -> impl Strategy<Value = plain::sql::Value> {
    use plain::sql::Value;
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        any::<i64>().prop_map(Value::Int),
        any::<i32>().prop_map(|number| Value::Float(f64::from(number) / 8.0)),
        text().prop_map(Value::Decimal),
        text().prop_map(Value::Text),
        blob().prop_map(Value::Bytes),
        text().prop_map(Value::Date),
        text().prop_map(Value::Time),
        text().prop_map(Value::Timestamp),
        text().prop_map(Value::Uuid),
        text().prop_map(Value::Json),
        (text(), text()).prop_map(Value::Other),
    ]
}

proptest! {
    #[test]
    fn rows_that_are_handed_over_are_the_same_as_on_the_wire(
        rows in prop::collection::vec(prop::collection::vec(sql_value(), 0..4), 0..4),
        columns in prop::collection::vec((text(), text()), 0..4),
        cursor in prop::option::of(text()),
    ) {
        let column = |(name, type_name)| plain::sql::Column { name, type_name };
        let columns = columns.into_iter().map(column).collect();
        same::<sql::Rows>(plain::sql::Rows { columns, rows, cursor });
    }

    #[test]
    fn deliveries_that_are_handed_over_are_the_same_as_on_the_wire(
        body in blob(),
        texts in prop::collection::vec((text(), text()), 0..4),
        maybe in prop::option::of(text()),
        number in any::<u64>(),
        small in any::<u32>(),
    ) {
        let message = plain::queue::Message {
            body,
            content_type: maybe.clone(),
            attributes: texts,
            dedup_id: None,
            group: maybe,
        };
        same::<queue::Delivery>(plain::queue::Delivery {
            receipt: "r".to_owned(),
            id: "i".to_owned(),
            message,
            attempt: small,
            enqueued_at_ms: number,
            lease_ms: small / 2,
        });
    }
}

#[test]
fn answers_that_are_handed_over_are_the_same_as_on_the_wire() {
    let text = || "t".to_owned();
    let constraint = plain::sql::Constraint {
        kind: plain::sql::ConstraintKind::NotNull,
        name: Some(text()),
    };
    same::<sql::Error>(plain::sql::Error::TryAgain(plain::sql::DbError {
        code: text(),
        message: "m".to_owned(),
        detail: None,
        constraint: Some(constraint),
    }));
    same::<sql::Isolation>(plain::sql::Isolation::RepeatableRead);
    same::<queue::Outcome>(plain::queue::Outcome::Retry(Some(1)));
    same::<Result<queue::Depth, queue::Error>>(Err(plain::queue::Error::Full(text())));
    let holder = plain::lock::Holder {
        owner: text(),
        fence: 1,
        expires_in_ms: Some(2),
    };
    same::<lock::Error>(plain::lock::Error::Held(Some(holder)));
    same::<messaging::Error>(plain::messaging::Error::Connection(text()));
    same::<messaging::Message>(plain::messaging::Message {
        subject: "s".to_owned(),
        reply_to: Some("r".to_owned()),
        content_type: Some("c".to_owned()),
        metadata: vec![(text(), text())],
        body: Bytes::from_static(&[0, 255]),
    });
    same::<schedule::Job>(plain::schedule::Job {
        name: text(),
        trigger: plain::schedule::Trigger::AtMs(1),
        time_zone: None,
        payload: Bytes::from_static(&[0, 255]),
    });
}

/// Releases a lock, and returns a hundred for an error and the number of its case.
const RELEASING: &str = r#"(module
  (import "lattice:lock/lock@0.1.0" "release" (func $release (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func (export "run") (result i32)
    (call $release (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1024))
    (i32.add
      (i32.mul (i32.load8_u (i32.const 1024)) (i32.const 100))
      (i32.load8_u (i32.const 1032)))))"#;

fn releasing() -> Vec<u8> {
    let wit = package!("lock-0.1.0/lock.wit");
    let wit = format!("{wit}\nworld releasing {{ import lock; export run: func() -> u32; }}");
    let mut resolve = Resolve::default();
    let package = resolve.push_str("package.wit", &wit).unwrap();
    let world = resolve.select_world(&[package], Some("releasing")).unwrap();
    component(&resolve, world, RELEASING)
}

/// Locks that nobody holds, and remembers in which way they were asked.
struct Unheld {
    takes_values: bool,
    is_gone: bool,
    asked: Mutex<Vec<&'static str>>,
}

impl Unheld {
    fn ask(&self, way: &'static str) -> Result<(), InvokeError> {
        self.asked.lock().unwrap().push(way);
        let target = "locks".to_owned();
        match self.is_gone {
            true => Err(InvokeError::Gone { target }),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Invoke for Unheld {
    async fn call(
        &self,
        _: &CallContext,
        _: ImportTarget<'_>,
        params: Bytes,
    ) -> Result<Bytes, InvokeError> {
        assert_eq!(params, [0_u8, 0][..]);
        // Not held.
        self.ask("encoded").map(|()| Bytes::from_static(&[1, 1]))
    }

    fn takes_value(&self, _: &CallContext, _: ImportTarget<'_>, params: TypeId) -> bool {
        self.takes_values && params == TypeId::of::<(String, String)>()
    }

    async fn call_value(
        &self,
        _: &CallContext,
        _: ImportTarget<'_>,
        params: Value,
    ) -> Result<Result<Value, InvokeError>, Value> {
        let params = params.downcast::<(String, String)>()?;
        assert_eq!(*params, (String::new(), String::new()));
        let answer: Result<(), plain::lock::Error> = Err(plain::lock::Error::NotHeld);
        Ok(self.ask("handed over").map(|()| Box::new(answer) as Value))
    }

    async fn call_streaming(
        &self,
        cx: &CallContext,
        target: ImportTarget<'_>,
        params: Bytes,
        streams: Vec<(Path, ByteStream)>,
        results: &[Path],
    ) -> Result<StreamingReply, InvokeError> {
        EchoHttp
            .call_streaming(cx, target, params, streams, results)
            .await
    }

    async fn send_http(
        &self,
        cx: &CallContext,
        link_name: &str,
        request: http::Request<HttpBody>,
        options: RequestOptions,
    ) -> Result<http::Response<HttpBody>, ErrorCode> {
        EchoHttp.send_http(cx, link_name, request, options).await
    }
}

#[tokio::test]
async fn who_takes_values_is_handed_them_and_the_guest_sees_no_difference() {
    let config = RuntimeConfig {
        max_instances: 4,
        max_memory_bytes: 1 << 20,
        ..RuntimeConfig::default()
    };
    let runtime = Runtime::new(config).unwrap();
    let wasm = Bytes::from(releasing());
    for (takes_values, way) in [(true, "handed over"), (false, "encoded")] {
        // Not held, and unavailable.
        for (is_gone, said) in [(false, 101_u8), (true, 105)] {
            let invoke = Arc::new(Unheld {
                takes_values,
                is_gone,
                asked: Mutex::default(),
            });
            let (options, env) = (ComponentOptions::default(), Arc::new(FakeEnv::default()));
            let there = Arc::<Unheld>::clone(&invoke);
            let prepared = runtime.prepare(wasm.clone(), options, there, env);
            let component = prepared.await.unwrap();
            let cx = CallContext::within(Duration::from_secs(60));
            let called = component.call(&component.exports()[0], cx, Bytes::new());
            assert_eq!(called.await.unwrap(), [said][..], "{way}");
            assert_eq!(*invoke.asked.lock().unwrap(), [way]);
        }
    }
}
