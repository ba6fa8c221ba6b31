//! Every service starts, and comes back at the same address after it was killed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lattice_services::{Kind, Service};

async fn comes_back(kind: Kind) {
    let mut service = Service::start(kind).await.unwrap();
    let url = service.url();
    service.kill();
    service.start_again().await.unwrap();
    assert_eq!(service.url(), url);
}

macro_rules! each {
    ($($name:ident $kind:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                comes_back(Kind::$kind).await;
            }
        )*
    };
}

each! {
    redis_comes_back Redis
    postgres_comes_back Postgres
    mariadb_comes_back MariaDb
    etcd_comes_back Etcd
    rabbitmq_comes_back RabbitMq
    mosquitto_comes_back Mosquitto
    moto_comes_back Moto
    azurite_comes_back Azurite
}

#[tokio::test]
async fn a_service_that_ends_at_once_says_why() {
    let mut first = Service::reserve(Kind::Mosquitto).unwrap();
    first.start_again().await.unwrap();
    let taken = std::net::TcpListener::bind(("127.0.0.1", first.port()));
    assert!(taken.is_err(), "it listens nowhere");
}
