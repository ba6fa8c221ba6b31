//! The types here are those of the WIT packages.

use wasmtime::Engine;
use wasmtime::component::Component as Code;
use wasmtime::component::types::ComponentItem;
use wit_parser::abi::{AbiVariant, WasmSignature, WasmType};
use wit_parser::{Resolve, WorldItem};

use super::super::{Interface, Resources, import_of, signature};
use super::*;
use crate::prepare::wrap;

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
    let mut module = wat::parse_str(module).unwrap();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding, false).unwrap();
    let component = wrap(&module).unwrap();
    Code::new(&Engine::default(), component).unwrap()
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
