//! A component that calls a provider of SQL.

use lattice_rpc::wrpc::{CallContext, Client};

use bindings::lattice::sql::sql;
pub use bindings::lattice::sql::sql::{Dialect, Done, Error, Isolation, Rows, Value};
pub use bindings::lattice::sql::types::{ConstraintKind, DbError};

#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused,
    clippy::all,
    clippy::error_impl_error,
    clippy::missing_errors_doc,
    clippy::wildcard_imports
)]
mod bindings {
    wit_bindgen_wrpc::generate!({
        inline: "
            package lattice:sql-caller;
            world component {
                import lattice:sql/sql@0.1.0;
            }
        ",
        path: "../../interfaces/wit/lattice-sql-0.1.0",
        world: "lattice:sql-caller/component",
        generate_all,
    });
}

/// A component that calls the provider through one link.
#[derive(Debug, Clone)]
pub struct Sql {
    pub(super) client: Client,
    pub(super) link_name: String,
}

pub type Answer<T> = Result<T, Error>;

impl Sql {
    fn cx(&self) -> CallContext {
        CallContext::through(&self.link_name)
    }

    pub async fn query_page(
        &self,
        tx: Option<&str>,
        statement: &str,
        values: &[Value],
        max_rows: u32,
    ) -> Answer<Rows> {
        sql::query(&self.client, self.cx(), "", tx, statement, values, max_rows)
            .await
            .unwrap()
    }

    pub async fn query(&self, statement: &str, values: &[Value]) -> Answer<Vec<Vec<Value>>> {
        Ok(self.query_page(None, statement, values, 0).await?.rows)
    }

    pub async fn query_in(
        &self,
        tx: &str,
        statement: &str,
        values: &[Value],
    ) -> Answer<Vec<Vec<Value>>> {
        Ok(self.query_page(Some(tx), statement, values, 0).await?.rows)
    }

    /// The whole number in the only row and column.
    pub async fn number(&self, statement: &str) -> Answer<i64> {
        let rows = self.query(statement, &[]).await?;
        match rows.first().and_then(|row| row.first()) {
            Some(Value::Int(number)) => Ok(*number),
            Some(Value::Decimal(text)) => Ok(text.parse().unwrap()),
            other => panic!("expected a number, got {other:?}"),
        }
    }

    pub async fn fetch(&self, cursor: &str, max_rows: u32) -> Answer<Rows> {
        sql::fetch(&self.client, self.cx(), "", cursor, max_rows)
            .await
            .unwrap()
    }

    pub async fn close(&self, cursor: &str) -> Answer<()> {
        sql::close(&self.client, self.cx(), "", cursor)
            .await
            .unwrap()
    }

    pub async fn execute(&self, statement: &str, values: &[Value]) -> Answer<Done> {
        self.execute_in(None, statement, values).await
    }

    pub async fn execute_in(
        &self,
        tx: Option<&str>,
        statement: &str,
        values: &[Value],
    ) -> Answer<Done> {
        sql::execute(&self.client, self.cx(), "", tx, statement, values)
            .await
            .unwrap()
    }

    pub async fn execute_on(&self, db: &str, statement: &str) -> Answer<Done> {
        sql::execute(&self.client, self.cx(), db, None, statement, &[])
            .await
            .unwrap()
    }

    pub async fn execute_many(
        &self,
        tx: Option<&str>,
        statement: &str,
        rows: &[Vec<Value>],
    ) -> Answer<Done> {
        let rows: Vec<&[Value]> = rows.iter().map(Vec::as_slice).collect();
        sql::execute_many(&self.client, self.cx(), "", tx, statement, &rows)
            .await
            .unwrap()
    }

    pub async fn begin(&self, isolation: Isolation) -> Answer<String> {
        sql::begin(&self.client, self.cx(), "", isolation, 0)
            .await
            .unwrap()
    }

    pub async fn begin_for(&self, timeout_ms: u32) -> Answer<String> {
        sql::begin(&self.client, self.cx(), "", Isolation::Default, timeout_ms)
            .await
            .unwrap()
    }

    pub async fn commit(&self, tx: &str) -> Answer<()> {
        sql::commit(&self.client, self.cx(), "", tx).await.unwrap()
    }

    pub async fn rollback(&self, tx: &str) -> Answer<()> {
        sql::rollback(&self.client, self.cx(), "", tx)
            .await
            .unwrap()
    }

    pub async fn dialect(&self, db: &str) -> Answer<Dialect> {
        sql::dialect_of(&self.client, self.cx(), db).await.unwrap()
    }
}

pub fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}
