//! How many connections there are, and who is let in.

use super::*;

#[tokio::test]
async fn connections_have_an_end_and_logins_are_checked() {
    let config = [("pool_size", "2"), ("pool_wait_ms", "300")];
    let (postgres, lattice, sql) = &mut start(&config).await;
    let one = sql.begin(Isolation::Default).await.unwrap();
    let two = sql.begin(Isolation::Default).await.unwrap();
    let begun = Instant::now();
    let error = sql.query("SELECT 1", &[]).await.unwrap_err();
    assert!(
        matches!(&error, Error::Busy(why) if why.contains("pool_size")),
        "{error:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(1));
    sql.rollback(&one).await.unwrap();
    sql.query("SELECT 1", &[]).await.unwrap();
    sql.rollback(&two).await.unwrap();
    // A wrong password.
    let port = postgres.port().to_string();
    let keys = [
        ("POSTGRES_HOST", "127.0.0.1"),
        ("POSTGRES_PORT", &port),
        ("POSTGRES_USERNAME", "clerk"),
        ("POSTGRES_PASSWORD", "sesame"),
        ("POSTGRES_DATABASE", "lattice"),
    ];
    let superuser = "CREATE ROLE clerk LOGIN PASSWORD 'other'";
    psql(postgres, superuser);
    let begun = Instant::now();
    let clerk = lattice.put("shop", "old-keys", &keys).await;
    let reason = lattice.report_of(LinkState::Failed).await.reason.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(
        reason.contains("password authentication failed for user"),
        "{reason}"
    );
    assert!(!reason.contains("sesame"), "{reason}");
    psql(postgres, "ALTER ROLE clerk PASSWORD 'sesame'");
    lattice.report_of(LinkState::Ready).await;
    clerk.query("SELECT 1", &[]).await.unwrap();
    let error = clerk
        .query("SELECT * FROM pg_authid", &[])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::AccessDenied), "{error:?}");
}

/// Runs a statement as the superuser, whom the socket of the server lets in.
fn psql(postgres: &Service, statement: &str) {
    let port = postgres.port().to_string();
    let data = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .find_map(|process| {
            let line = std::fs::read(process.path().join("cmdline")).ok()?;
            let line: Vec<_> = line
                .split(|b| *b == 0)
                .map(String::from_utf8_lossy)
                .collect();
            let is_server =
                line.first()?.ends_with("postgres") && line.contains(&port.as_str().into());
            let at = line.iter().position(|word| word == "-k")?;
            is_server.then(|| line[at + 1].to_string())
        });
    let done = std::process::Command::new("psql")
        .args([
            "-h",
            &data.unwrap(),
            "-p",
            &port,
            "-U",
            "postgres",
            "-c",
            statement,
        ])
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}
