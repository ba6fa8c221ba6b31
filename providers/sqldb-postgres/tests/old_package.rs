//! `wasmcloud:postgres@0.1.1-draft`: every case that PostgreSQL has a type for, both ways.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../sqldb-sqlite/tests/support/mod.rs"]
mod support;
mod values;

#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::error_impl_error,
    clippy::missing_errors_doc,
    clippy::wildcard_imports,
    reason = "generated from the WIT package"
)]
mod bindings {
    wit_bindgen_wrpc::generate!({
        inline: "
            package lattice:postgres-caller;
            world component {
                import wasmcloud:postgres/query@0.1.1-draft;
                import wasmcloud:postgres/prepared@0.1.1-draft;
            }
        ",
        path: "../../interfaces/wit/wasmcloud-postgres-0.1.1-draft",
        world: "lattice:postgres-caller/component",
        generate_all,
    });
}

use bindings::wasmcloud::postgres::prepared::{self, PreparedStatementExecError};
use bindings::wasmcloud::postgres::query::{self, QueryError};
use bindings::wasmcloud::postgres::types as pg;
use lattice_rpc::wrpc::{CallContext, Client};
use lattice_services::{Kind, Service};
use pg::{PgValue, ResultRowEntry};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqldb_postgres::SqldbPostgres;
use support::{Lattice, PATIENCE};
use values::{case, parts, same_both_ways, same_by_another_name, short_parts, shown};

struct Old {
    client: Client,
    _postgres: Service,
    _lattice: Lattice,
}

impl Old {
    async fn start() -> Self {
        let postgres = Service::start(Kind::Postgres).await.unwrap();
        let mut lattice = Lattice::start::<SqldbPostgres>(&[]).await;
        let port = postgres.port().to_string();
        let config = [
            ("POSTGRES_HOST", "127.0.0.1"),
            ("POSTGRES_PORT", &port),
            ("POSTGRES_USERNAME", "lattice"),
            ("POSTGRES_PASSWORD", "lattice"),
            ("POSTGRES_DATABASE", "lattice"),
            ("POSTGRES_TLS_REQUIRED", "false"),
        ];
        let package = ("wasmcloud", "postgres", &["query", "prepared"][..]);
        lattice.put_link(package, ("old", "default"), &config).await;
        lattice.ready().await;
        Self {
            client: lattice.client("old", PATIENCE),
            _postgres: postgres,
            _lattice: lattice,
        }
    }

    async fn query(&self, text: &str, values: &[PgValue]) -> Result<Vec<Vec<PgValue>>, QueryError> {
        let cx = CallContext::through("default");
        let rows = query::query(&self.client, cx, text, values)
            .await
            .unwrap()?;
        let values = |row: Vec<ResultRowEntry>| row.into_iter().map(|e| e.value).collect();
        Ok(rows.into_iter().map(values).collect())
    }

    async fn batch(&self, text: &str) -> Result<(), QueryError> {
        let cx = CallContext::through("default");
        query::query_batch(&self.client, cx, text).await.unwrap()
    }

    /// Sends a value as a parameter of a type and returns what comes back.
    async fn through(&self, ty: &str, value: &PgValue) -> PgValue {
        let text = format!("SELECT $1::{ty}");
        let rows = self.query(&text, std::slice::from_ref(value)).await;
        let mut rows = rows.unwrap_or_else(|error| panic!("{ty}: {value:?}: {error:?}"));
        rows.pop().unwrap().pop().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_goes_there_and_back() {
    let old = &Old::start().await;
    old.batch("CREATE EXTENSION IF NOT EXISTS hstore")
        .await
        .unwrap();
    let mut cases = std::collections::BTreeSet::new();
    for (ty, value) in same_both_ways() {
        let back = old.through(ty, &value).await;
        assert_eq!(shown(&back), shown(&value), "{ty}");
        cases.insert(case(&value));
    }
    for (ty, value, wanted) in same_by_another_name() {
        let back = old.through(ty, &value).await;
        assert_eq!(shown(&back), shown(&wanted), "{ty}: {value:?}");
        cases.insert(case(&value));
    }
    assert_eq!(cases.len(), values::CASES, "{cases:?}");
    numbers_of_any_size(old);
    statements(old).await;
    altered_tables(old).await;
    limits(old).await;
}

/// Property: numbers and texts of any content come back as they went.
fn numbers_of_any_size(old: &Old) {
    let mut runner = TestRunner::new(Config::with_cases(40));
    let rows = (
        any::<f64>(),
        any::<f32>(),
        "\\PC{0,20}",
        any::<Vec<u8>>(),
        any::<i64>(),
        "-?[1-9][0-9]{0,30}\\.[0-9]{1,20}",
    );
    let tested = runner.run(&rows, |(long, short, text, bytes, whole, decimal)| {
        let values = [
            PgValue::Float8(parts(long)),
            PgValue::Float4(short_parts(short)),
            PgValue::TextArray(vec![text.clone(), text.clone()]),
            PgValue::Bytea(bytes.clone().into()),
            PgValue::PgLsn(whole.cast_unsigned()),
            PgValue::Numeric(decimal),
        ];
        let select =
            "SELECT $1::float8, $2::float4, $3::text[], $4::bytea, $5::pg_lsn, $6::numeric";
        let rows = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(old.query(select, &values))
        });
        let rows = rows.unwrap();
        let is_number = !long.is_nan() && !short.is_nan();
        if is_number {
            prop_assert_eq!(format!("{:?}", rows[0]), format!("{:?}", values));
        }
        Ok(())
    });
    tested.unwrap();
}

/// What is prepared for a table goes with it.
async fn altered_tables(old: &Old) {
    old.batch("CREATE TABLE altered (a INT); INSERT INTO altered VALUES (1);")
        .await
        .unwrap();
    let (query, update) = (
        "SELECT * FROM altered",
        "UPDATE altered SET a = a RETURNING *",
    );
    let cx = || CallContext::through("default");
    let token = prepared::prepare(&old.client, cx(), update).await;
    let token = token.unwrap().unwrap();
    for columns in 1..4 {
        let rows = old.query(query, &[]).await.unwrap();
        assert_eq!(rows[0].len(), columns);
        let done = prepared::exec(&old.client, cx(), &token, &[]).await;
        assert_eq!(done.unwrap().unwrap(), 1);
        let alter = format!("ALTER TABLE altered ADD b{columns} INT");
        old.batch(&alter).await.unwrap();
    }
}

async fn statements(old: &Old) {
    old.batch("CREATE TABLE users (id SERIAL PRIMARY KEY, name VARCHAR(20) UNIQUE); INSERT INTO users (name) VALUES ('a');")
        .await
        .unwrap();
    let insert = "INSERT INTO users (name) VALUES ($1)";
    let cx = || CallContext::through("default");
    let token = prepared::prepare(&old.client, cx(), insert)
        .await
        .unwrap()
        .unwrap();
    let name = |name: &str| vec![PgValue::Text(name.to_owned())];
    let done = prepared::exec(&old.client, cx(), &token, &name("b"))
        .await
        .unwrap();
    assert_eq!(done.unwrap(), 1);
    let again = prepared::exec(&old.client, cx(), &token, &name("b"))
        .await
        .unwrap();
    let Err(PreparedStatementExecError::QueryError(QueryError::Unexpected(why))) = again else {
        panic!("the name is taken");
    };
    assert!(why.contains("users_name_key"), "{why}");
    let unknown = prepared::exec(&old.client, cx(), "x", &[]).await.unwrap();
    assert!(matches!(
        unknown,
        Err(PreparedStatementExecError::UnknownPreparedQuery)
    ));
    let wrong = prepared::prepare(&old.client, cx(), "SELEC 1")
        .await
        .unwrap();
    assert!(wrong.is_err());
    let rows = old
        .query("SELECT id, name FROM users ORDER BY id", &[])
        .await
        .unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(case(&rows[0][0]), "Int4");
    assert_eq!(case(&rows[0][1]), "Varchar");
    // A transaction in one batch, and one that was left open.
    old.batch("BEGIN; DELETE FROM users; ROLLBACK;")
        .await
        .unwrap();
    let left = old.batch("BEGIN; DELETE FROM users;").await.unwrap_err();
    assert!(
        format!("{left:?}").contains("leaves its transaction open"),
        "{left:?}"
    );
    old.batch("SET search_path TO public; BEGIN; COMMIT")
        .await
        .unwrap();
    for _ in 0..20 {
        assert_eq!(
            old.query("SELECT id FROM users", &[]).await.unwrap().len(),
            2
        );
    }
}

async fn limits(old: &Old) {
    let error = old
        .query(
            "SELECT repeat('x', 1000000) FROM generate_series(1, 1000)",
            &[],
        )
        .await;
    assert!(
        matches!(&error, Err(QueryError::Unexpected(why)) if why.contains("MiB")),
        "{error:?}"
    );
    let error = old
        .query("SELECT $1::int4", &[PgValue::Text("x".into())])
        .await;
    assert!(
        matches!(error, Err(QueryError::InvalidParams(_))),
        "{error:?}"
    );
    let error = old.query("SELECT", &[PgValue::Null]).await;
    assert!(
        matches!(error, Err(QueryError::InvalidParams(_))),
        "{error:?}"
    );
    let error = old.query("SELECT nothing", &[]).await;
    assert!(
        matches!(error, Err(QueryError::InvalidQuery(_))),
        "{error:?}"
    );
    let error = old.query("SELECT '[1,2)'::int4range", &[]).await;
    assert!(
        matches!(&error, Err(QueryError::Unexpected(why)) if why.contains("cast")),
        "{error:?}"
    );
    let wrong = PgValue::Bit((20, vec![0].into()));
    let error = old.query("SELECT $1::bit(20)", &[wrong]).await;
    assert!(
        matches!(error, Err(QueryError::InvalidParams(_))),
        "{error:?}"
    );
}
