//! Brokers for tests: those that the client library brings, behind a port of one's choice.
//!
//! `kafka-mock-brokers PORT [MILLISECONDS]` runs until it is killed, and forgets everything then. The
//! library chooses the ports of the brokers itself; clients ask at `PORT` where those are. Each answer
//! comes so many milliseconds later.

use std::error::Error;
use std::net::Ipv4Addr;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments
        .next()
        .ok_or("usage: kafka-mock-brokers PORT [MILLISECONDS]")?;
    let brokers = MockCluster::new(1)?;
    if let Some(delay) = arguments.next() {
        brokers.broker_round_trip_time(1, Duration::from_millis(delay.parse()?))?;
    }
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
