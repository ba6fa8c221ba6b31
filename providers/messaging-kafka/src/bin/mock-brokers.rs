//! Brokers for tests: those that the client library brings, behind a port of one's choice.
//!
//! `kafka-mock-brokers PORT` runs until it is killed, and forgets everything then. The library
//! chooses the ports of the brokers itself; clients ask at `PORT` where those are.

use std::error::Error;
use std::net::Ipv4Addr;

use rdkafka::mocking::MockCluster;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args()
        .nth(1)
        .ok_or("usage: kafka-mock-brokers PORT")?;
    let brokers = MockCluster::new(1)?;
    let place = brokers.bootstrap_servers();
    let door = TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse()?)).await?;
    loop {
        let (mut client, _) = door.accept().await?;
        let place = place.clone();
        tokio::spawn(async move {
            let Ok(mut broker) = TcpStream::connect(place).await else {
                return;
            };
            // Either end may hang up.
            let _ = copy_bidirectional(&mut client, &mut broker).await;
        });
    }
}
