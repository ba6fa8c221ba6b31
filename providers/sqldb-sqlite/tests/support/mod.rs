//! A lattice with one SQL provider, and a component that calls it. The tests of the other SQL
//! providers use this file too.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    clippy::disallowed_methods
)]

use std::time::Duration;

use async_nats::Subscriber;
use futures::StreamExt as _;
use lattice_core::link::LinkState;
use lattice_core::provider::{HostData, LinkReport};
use lattice_core::subject::ProviderSubjects;
use lattice_core::{ComponentId, LatticeName, ResolvedLink, StringMap};
use lattice_nats_box::NatsBox;
use lattice_provider_sdk::{Provider, run};
use lattice_rpc::wrpc::{CallContext, Client};
use lattice_rpc::{Peer, PeerConfig};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

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

/// How long a test waits for what has to happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a provider and tells it about links, as its host would.
#[derive(Debug)]
pub struct Lattice {
    pub nats: NatsBox,
    pub peer: Peer,
    pub provider: ComponentId,
    subjects: ProviderSubjects,
    reports: Subscriber,
    stop: CancellationToken,
    running: Vec<JoinHandle<()>>,
    links: Vec<ResolvedLink>,
}

impl Drop for Lattice {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn map(values: &[(&str, &str)]) -> StringMap {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    values.iter().map(owned).collect()
}

impl Lattice {
    /// Runs the provider `P` with a config of its own.
    pub async fn start<P: Provider>(config: &[(&str, &str)]) -> Self {
        let nats = NatsBox::start().await.unwrap();
        let client = nats.client().await.unwrap();
        let provider = ComponentId::new("sql").unwrap();
        let subjects = ProviderSubjects::new(&LatticeName::default(), &provider);
        let reports = client.subscribe(subjects.link_status()).await.unwrap();
        let peer = Peer::new(client, PeerConfig::default()).await.unwrap();
        let stop = CancellationToken::new();
        let mut lattice = Self {
            nats,
            peer,
            provider,
            subjects,
            reports,
            stop,
            running: Vec::new(),
            links: Vec::new(),
        };
        lattice.spawn::<P>(config);
        let health = lattice.subjects.health();
        let ask = async {
            let nats = lattice.peer.nats();
            while nats.request(health.clone(), "".into()).await.is_err() {}
        };
        tokio::time::timeout(PATIENCE, ask).await.unwrap();
        lattice
    }

    fn spawn<P: Provider>(&mut self, config: &[(&str, &str)]) {
        let data = HostData {
            host_id: format!("N{}", self.running.len()),
            lattice_rpc_prefix: LatticeName::default().to_string(),
            lattice_rpc_url: self.nats.url.clone(),
            provider_key: self.provider.to_string(),
            config: map(config),
            link_definitions: self.links.clone(),
            ..HostData::default()
        };
        let stopped = self.stop.clone();
        let running = async move { run::<P>(data, stopped).await.unwrap() };
        self.running.push(tokio::spawn(running));
    }

    /// Runs one more copy of the provider with the only link that is there.
    pub async fn run_another<P: Provider>(&mut self) {
        self.spawn::<P>(&[]);
        self.ready().await;
    }

    /// Puts a link for a package and returns it; whether it works is left to
    /// [`Lattice::report_of`].
    pub async fn put_link(
        &mut self,
        (namespace, package, interfaces): (&str, &str, &[&str]),
        (source, name): (&str, &str),
        config: &[(&str, &str)],
    ) -> ResolvedLink {
        let link = ResolvedLink {
            source_id: source.into(),
            target: self.provider.to_string(),
            name: name.into(),
            wit_namespace: namespace.into(),
            wit_package: package.into(),
            interfaces: interfaces.iter().map(|&i| i.to_owned()).collect(),
            source_config: StringMap::new(),
            target_config: map(config),
            source_secrets: None,
            target_secrets: None,
            locality: lattice_core::Locality::default(),
            rules: lattice_core::LinkRules::default(),
        };
        self.publish(self.subjects.link_put(), &link).await;
        self.links.push(link.clone());
        link
    }

    pub async fn put(&mut self, source: &str, name: &str, config: &[(&str, &str)]) -> Sql {
        self.put_link(("lattice", "sql", &["sql"]), (source, name), config)
            .await;
        self.component(source, name)
    }

    /// As [`Lattice::put`], and waits until the link works.
    pub async fn link(&mut self, source: &str, name: &str, config: &[(&str, &str)]) -> Sql {
        let sql = self.put(source, name, config).await;
        self.ready().await;
        sql
    }

    /// Waits until a link is ready, or tells why one is not.
    pub async fn ready(&mut self) {
        let wait = async {
            loop {
                let report = self.report().await;
                match report.state {
                    LinkState::Ready => return,
                    LinkState::Failed => panic!("the link failed: {:?}", report.reason),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    }

    pub async fn delete(&self, source: &str, name: &str) {
        let link = ResolvedLink {
            source_id: source.into(),
            target: self.provider.to_string(),
            name: name.into(),
            wit_namespace: "lattice".into(),
            wit_package: "sql".into(),
            interfaces: vec!["sql".into()],
            source_config: StringMap::new(),
            target_config: StringMap::new(),
            source_secrets: None,
            target_secrets: None,
            locality: lattice_core::Locality::default(),
            rules: lattice_core::LinkRules::default(),
        };
        self.publish(self.subjects.link_delete(), &link).await;
    }

    async fn publish<T: serde::Serialize + Sync>(&self, subject: String, message: &T) {
        let payload = serde_json::to_vec(message).unwrap();
        let nats = self.peer.nats();
        nats.publish(subject, payload.into()).await.unwrap();
    }

    /// The component `id`, linked or not.
    pub fn component(&self, id: &str, link_name: &str) -> Sql {
        Sql {
            client: self.client(id, PATIENCE),
            link_name: link_name.to_owned(),
        }
    }

    pub fn client(&self, id: &str, limit: Duration) -> Client {
        let id = ComponentId::new(id).unwrap();
        let lattice = LatticeName::default();
        Client::new(
            self.peer.clone(),
            &lattice,
            id,
            self.provider.clone(),
            limit,
        )
    }

    /// A component whose calls may take that long.
    pub fn hasty(&self, id: &str, link_name: &str, limit: Duration) -> Sql {
        Sql {
            client: self.client(id, limit),
            link_name: link_name.to_owned(),
        }
    }

    async fn report(&mut self) -> LinkReport {
        let message = self.reports.next().await.unwrap();
        serde_json::from_slice(&message.payload).unwrap()
    }

    /// Waits until the provider reports a link in that state.
    pub async fn report_of(&mut self, state: LinkState) -> LinkReport {
        let wait = async {
            loop {
                let report = self.report().await;
                if report.state == state {
                    return report;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap()
    }

    /// Ends the provider and waits until it has ended.
    pub async fn end_provider(&mut self) {
        self.stop.cancel();
        for running in self.running.drain(..) {
            tokio::time::timeout(PATIENCE, running)
                .await
                .unwrap()
                .unwrap();
        }
    }
}

/// A component that calls the provider through one link.
#[derive(Debug, Clone)]
pub struct Sql {
    client: Client,
    link_name: String,
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

/// The accounts that transfers are made between, and what they have together.
pub const ACCOUNTS: i64 = 8;
pub const SUM: i64 = ACCOUNTS * 100;

pub async fn open_accounts(sql: &Sql) {
    let create = "CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance BIGINT NOT NULL)";
    sql.execute(create, &[]).await.unwrap();
    let rows: Vec<_> = (0..ACCOUNTS)
        .map(|id| vec![Value::Int(id), Value::Int(100)])
        .collect();
    let insert = "INSERT INTO accounts (id, balance) VALUES (?, ?)";
    let done = sql.execute_many(None, insert, &rows).await.unwrap();
    assert_eq!(done.affected, ACCOUNTS as u64);
}

pub async fn sum_of(sql: &Sql) -> i64 {
    sql.number("SELECT SUM(balance) FROM accounts")
        .await
        .unwrap()
}

const TAKE: &str = "UPDATE accounts SET balance = balance - $1 WHERE id = $2";
const GIVE: &str = "UPDATE accounts SET balance = balance + $1 WHERE id = $2";

/// Moves an amount; `dies` is where the component stops: before which of its four steps.
pub async fn transfer(sql: &Sql, from: i64, to: i64, dies: Option<usize>) -> Answer<()> {
    let tx = sql.begin(Isolation::Default).await?;
    let amount = Value::Int(7);
    let steps = [(TAKE, from), (GIVE, to)];
    for (number, (statement, account)) in steps.into_iter().enumerate() {
        if dies == Some(number) {
            return Ok(());
        }
        let values = [amount.clone(), Value::Int(account)];
        let done = sql.execute_in(Some(&tx), statement, &values).await;
        if let Err(error) = done {
            let _rolled_back = sql.rollback(&tx).await;
            return Err(error);
        }
    }
    match dies {
        None => sql.commit(&tx).await,
        Some(_) => Ok(()),
    }
}

/// Makes many transfers at once, of which every third stops half way.
pub async fn transfers_that_die(sql: &Sql, count: usize) {
    let one = |number: usize| async move {
        let from = number as i64 % ACCOUNTS;
        let to = (number as i64 * 3 + 1) % ACCOUNTS;
        let dies = number.is_multiple_of(3).then_some(number % 4);
        loop {
            match transfer(sql, from, to, dies).await {
                Err(Error::TryAgain(_) | Error::Busy(_)) => {}
                done => return done.unwrap(),
            }
        }
    };
    let all = futures::stream::iter(0..count)
        .map(one)
        .buffer_unordered(16);
    let made = all.collect::<Vec<()>>();
    tokio::time::timeout(PATIENCE * 2, made).await.unwrap();
}

/// Adds one from many tasks at once.
pub async fn count_at_once(sql: &Sql, ways: usize) {
    sql.execute("CREATE TABLE counter (n BIGINT NOT NULL)", &[])
        .await
        .unwrap();
    sql.execute("INSERT INTO counter VALUES (0)", &[])
        .await
        .unwrap();
    let add = |_| async {
        loop {
            match sql.execute("UPDATE counter SET n = n + 1", &[]).await {
                Err(Error::TryAgain(_) | Error::Busy(_)) => {}
                done => return done.unwrap(),
            }
        }
    };
    let added = futures::future::join_all((0..ways).map(add)).await;
    assert_eq!(added.len(), ways);
    let counted = sql.number("SELECT n FROM counter").await.unwrap();
    assert_eq!(counted, ways as i64);
}

/// Answers more than is kept of a write. `insert` adds 20 rows of a million bytes to the table
/// `long_rows`, which has one column `a`.
pub async fn a_write_answers_too_much(sql: &Sql, insert: &str) {
    let written = async || sql.number("SELECT count(*) FROM long_rows").await.unwrap();
    // Alone it is as if it had not been.
    let returning = format!("{insert} RETURNING a");
    let error = sql.query(&returning, &[]).await.unwrap_err();
    assert!(
        matches!(&error, Error::InvalidParameter(why) if why.contains("undone")),
        "{error:?}"
    );
    assert_eq!(written().await, 0);
    // One that is never undone says that it took effect.
    let error = sql
        .query(&format!("{returning} AS temp"), &[])
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Other(why) if why.contains("took effect")),
        "{error:?}"
    );
    assert_eq!(written().await, 20);
    // In a transaction the rows are read one page after the other.
    let tx = sql.begin(Isolation::Default).await.unwrap();
    let mut page = sql.query_page(Some(&tx), &returning, &[], 0).await.unwrap();
    let mut seen = page.rows.len();
    while let Some(cursor) = page.cursor.take() {
        page = sql.fetch(&cursor, 0).await.unwrap();
        seen += page.rows.len();
    }
    sql.commit(&tx).await.unwrap();
    assert_eq!((seen, written().await), (20, 40));
}

/// The memory of this process, which is caller and provider.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Reads a million rows of a hundred bytes and more in pages, none of which stays.
pub async fn a_million_rows_in_pages(sql: &Sql, query: &str) {
    let before = resident();
    let mut page = sql.query_page(None, query, &[], 10_000).await.unwrap();
    let (mut seen, mut most) = (page.rows.len(), 0);
    while let Some(cursor) = page.cursor.take() {
        page = sql.fetch(&cursor, 10_000).await.unwrap();
        seen += page.rows.len();
        most = most.max(resident());
    }
    assert_eq!(seen, 1_000_000);
    let grown = most.saturating_sub(before);
    assert!(
        grown < 100 * 1024 * 1024,
        "{grown} bytes for rows that come in pages"
    );
}
