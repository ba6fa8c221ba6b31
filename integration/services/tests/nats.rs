//! Both versions of NATS are there, and are started as what they are called.

use lattice_services::{Kind, Service};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;

#[tokio::test]
async fn each_version_of_nats_says_which_it_is() {
    for (kind, version) in [(Kind::Nats, "2.15."), (Kind::OldNats, "2.9.")] {
        let mut service = Service::start(kind).await.unwrap();
        for _ in 0..2 {
            let server = TcpStream::connect(("127.0.0.1", service.port())).await;
            let mut greeting = String::new();
            let mut lines = BufReader::new(server.unwrap());
            lines.read_line(&mut greeting).await.unwrap();
            let says = format!("\"version\":\"{version}");
            assert!(greeting.contains(&says), "{}: {greeting}", kind.name());
            assert!(greeting.contains("\"jetstream\":true"), "{greeting}");
            service.kill();
            service.start_again().await.unwrap();
        }
    }
}
