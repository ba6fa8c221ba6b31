//! Accounts and counters that many use at once, which end with the right sums.

use futures::StreamExt as _;

use super::PATIENCE;
use super::sql::{Answer, Error, Isolation, Sql, Value};

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
