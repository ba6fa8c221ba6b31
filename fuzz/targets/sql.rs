//! Feeds statements, numbers and values of databases to what reads them.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use lattice_codec::Reader;
use lattice_provider_sdk::keyvalue::decimal::{Addend, number};
use lattice_provider_sdk::sql::{Dialect, Statement, Value};
use libfuzzer_sys::fuzz_target;
use sqldb_postgres::fuzzing::{Type, parameters, text_of, value};

#[allow(dead_code, reason = "the text of a statement is made elsewhere")]
#[path = "../../providers/sqldb-mysql/src/decimals.rs"]
mod decimals;
#[allow(dead_code, reason = "rows of MySQL can only be made by a server")]
#[path = "../../providers/sqldb-mysql/src/values.rs"]
mod mysql;
#[path = "../../host/src/trust/rules/sql.rs"]
mod rules;

/// The types that PostgreSQL itself has.
static TYPES: LazyLock<Vec<Type>> =
    LazyLock::new(|| (1..8000).filter_map(Type::from_oid).collect());

fuzz_target!(|data: &[u8]| {
    if let [high, low, raw @ ..] = data {
        let number = usize::from(u16::from_be_bytes([*high, *low]));
        let ty = &TYPES[number % TYPES.len()];
        let _ = (value(ty, raw), text_of(ty, raw));
        let _ = value(&Type::RECORD, &rows(ty, raw, low % 18));
    }
    let _ = parameters(&mut Reader::new(Bytes::copy_from_slice(data)));
    if let Ok(found) = number(data) {
        assert_eq!(number(found.to_string().as_bytes()), Ok(found));
        let _ = (
            Addend::from(u64::MAX).to_value(Some(data)),
            Addend::from(i64::MIN).to_value(Some(data)),
        );
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = rules::only_reads(text);
        let _ = mysql::sent(vec![Value::Timestamp(text.to_owned())]);
        let _ = mysql::sent(vec![Value::Decimal(text.to_owned())]);
        for dialect in [Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite] {
            statement(text, dialect);
        }
    }
});

/// A value as the only one of a row, which is in another row, and so on.
fn rows(ty: &Type, raw: &[u8], deep: u8) -> Vec<u8> {
    let mut row = raw.to_vec();
    let mut oid = ty.oid();
    for _ in 0..=deep {
        let len = u32::try_from(row.len()).unwrap_or_default();
        let head = [1, oid, len].map(u32::to_be_bytes).concat();
        row = [head, row].concat();
        oid = Type::RECORD.oid();
    }
    row
}

fn statement(text: &str, dialect: Dialect) {
    let Ok(read) = Statement::read(text, dialect) else {
        return;
    };
    let _ = (read.check(0, false), read.check(1, true));
    let _ = (
        read.leaves_traces(),
        read.reads_only(),
        read.can_be_undone(),
    );
    assert!(!read.verb().is_empty());
    let values: Vec<_> = (0..64).map(Value::Int).collect();
    let _ = read.in_order(values);
    let _ = Statement::read(read.text(), dialect);
}
