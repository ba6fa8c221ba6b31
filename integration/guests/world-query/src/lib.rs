//! Fixture with the imports and exports of the 1.x example for PostgreSQL: a call stores a row and tells what the database
//! made of it.

wit_bindgen::generate!({
    world: "wasmcloud:examples/world-query",
    path: ["../../../interfaces/wit/wasmcloud-postgres-0.1.1-draft", "wit"],
    generate_all,
});

use exports::wasmcloud::examples::invoke::Guest;
use wasmcloud::postgres::query::{PgValue, query, query_batch};

const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS visits (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        guest text NOT NULL,
        came timestamptz NOT NULL DEFAULT now()
    );
";
const INSERT: &str = "INSERT INTO visits (guest) VALUES ($1) RETURNING *;";

struct Query;

impl Guest for Query {
    fn call() -> String {
        visit().unwrap_or_else(|error| format!("error: {error}"))
    }
}

fn visit() -> Result<String, String> {
    query_batch(TABLE).map_err(|error| format!("{error:?}"))?;
    let guest = PgValue::Text("Ada".to_owned());
    let rows = query(INSERT, &[guest]).map_err(|error| format!("{error:?}"))?;
    let told = rows.iter().flatten().map(|entry| {
        let value = match &entry.value {
            PgValue::Int8(number) | PgValue::BigInt(number) => number.to_string(),
            PgValue::Text(text) => text.clone(),
            PgValue::TimestampTz(_) => "a moment".to_owned(),
            other => format!("{other:?}"),
        };
        format!("{}: {value}", entry.column_name)
    });
    Ok(told.collect::<Vec<_>>().join(", "))
}

export!(Query);
