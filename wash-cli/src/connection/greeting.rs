//! What a NATS server says before anybody has asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use lattice_nats::connection::ServerAddress;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a server may take to be reached, and how long to greet.
pub(crate) const GREETING: Duration = Duration::from_millis(1500);
/// The longest greeting; the servers of a cluster name all the others.
const LONGEST: u64 = 1 << 20;

/// What counts of a greeting.
#[derive(Debug, Deserialize)]
struct Info {
    server_id: String,
}

/// Connects to who listens there.
pub(crate) async fn reach(server: &ServerAddress) -> Option<TcpStream> {
    let port = server.port();
    let connecting = async {
        match server.ip().map(connectable) {
            Some(ip) => TcpStream::connect((ip, port)).await,
            None => TcpStream::connect((server.host(), port)).await,
        }
    };
    timeout(GREETING, connecting).await.ok()?.ok()
}

/// The id that the server there has given itself, which no other has.
pub(super) async fn server_id(server: &ServerAddress) -> Option<String> {
    let stream = reach(server).await?;
    let mut reader = BufReader::new(stream.take(LONGEST));
    let mut line = String::new();
    let reading = timeout(GREETING, reader.read_line(&mut line));
    reading.await.ok()?.ok()?;
    let info: Info = serde_json::from_str(line.strip_prefix("INFO ")?).ok()?;
    Some(info.server_id).filter(|id| !id.is_empty())
}

/// One listens on 0.0.0.0 but connects to 127.0.0.1.
pub(super) fn connectable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Greets at this address as the server of this id, for tests; gives the port.
#[cfg(test)]
pub(crate) async fn greeter(host: &str, port: u16, id: &'static str) -> u16 {
    use tokio::io::AsyncWriteExt as _;

    let listener = tokio::net::TcpListener::bind((host, port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let greeting = format!("INFO {{\"server_id\":\"{id}\"}} \r\n");
            stream.write_all(greeting.as_bytes()).await.unwrap();
        }
    });
    port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_is_known_by_its_id() {
        let port = greeter("127.0.0.1", 0, "NA").await;
        let at = |host: &str, port| ServerAddress::of(host).with_port(port);
        for host in [
            "127.0.0.1",
            "tls://127.0.0.1",
            "me:word@127.0.0.1",
            "0.0.0.0",
            "127.1",
        ] {
            let id = server_id(&at(host, port)).await;
            assert_eq!(id.as_deref(), Some("NA"), "{host}");
        }
        let nobody = greeter("127.0.0.1", 0, "").await;
        assert_eq!(server_id(&at("127.0.0.1", nobody)).await, None);
    }
}
