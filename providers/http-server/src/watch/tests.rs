//! Connections over time, which is paused.

use super::*;

const LIMITS: ConnectionLimits = ConnectionLimits {
    header_bytes: 8192,
    header_timeout: Duration::from_secs(1),
    idle_timeout: Duration::from_secs(10),
    streams: 1,
};

async fn seconds(watch: &Watch) -> (Ended, u64) {
    let before = Instant::now();
    let ended = watch.wait(&LIMITS).await;
    (ended, before.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn each_state_has_its_own_limit() {
    let watch = Watch::new();
    assert_eq!(seconds(&watch).await, (Ended::Idle, 10));
    watch.read(b"GET");
    assert_eq!(seconds(&watch).await, (Ended::SlowHead, 1));
    let mut busy = watch.enter();
    let waits = tokio::time::timeout(Duration::from_secs(60), watch.wait(&LIMITS)).await;
    assert!(waits.is_err());
    busy.answered();
    drop(busy);
    assert_eq!(seconds(&watch).await, (Ended::Idle, 10));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_left() {
    let (client, server) = tokio::io::duplex(16);
    let watch = Watch::new();
    let mut stream = Watched::new(server, Arc::clone(&watch));
    let _busy = watch.enter();
    let write = tokio::spawn(async move { stream.write_all(&[0; 64]).await });
    let (ended, after) = seconds(&watch).await;
    assert_eq!((ended, after / 2), (Ended::SlowReader, 30));
    // One that takes some in time is waited for.
    drop((client, write));
    let (mut client, server) = tokio::io::duplex(16);
    let watch = Watch::new();
    let mut stream = Watched::new(server, Arc::clone(&watch));
    let _busy = watch.enter();
    let write = tokio::spawn(async move { stream.write_all(&[0; 64]).await });
    let read = async {
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            tokio::io::AsyncReadExt::read_exact(&mut client, &mut [0; 16])
                .await
                .unwrap();
        }
    };
    tokio::select! {
        ended = watch.wait(&LIMITS) => panic!("{ended:?}"),
        () = read => {}
    }
    write.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_still_taken_is_neither_idle_nor_cut_by_the_next_head() {
    let (mut client, server) = tokio::io::duplex(16);
    let watch = Watch::new();
    let mut stream = Watched::new(server, Arc::clone(&watch));
    let mut busy = watch.enter();
    busy.answered();
    let write = tokio::spawn(async move { stream.write_all(&[0; 64]).await });
    // All of it waits to be written, so that its request is over, and the next one begins.
    drop(busy);
    watch.read(b"GET");
    let read = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            tokio::io::AsyncReadExt::read_exact(&mut client, &mut [0; 16])
                .await
                .unwrap();
        }
        write.await.unwrap().unwrap();
    };
    tokio::select! {
        ended = watch.wait(&LIMITS) => panic!("{ended:?}"),
        () = read => {}
    }
    assert_eq!(seconds(&watch).await, (Ended::SlowHead, 1));
}

#[tokio::test(start_paused = true)]
async fn http2_is_in_use_as_long_as_answers_are_taken_and_not_by_pings() {
    for (length, until) in [(1024, 26), (17, 10)] {
        let (_client, server) = tokio::io::duplex(16 * 1024);
        let watch = Watch::new();
        watch.read(b"PRI * HTTP/2.0");
        let mut stream = Watched::new(server, Arc::clone(&watch));
        let write = async {
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_secs(8)).await;
                stream.write_all(&[0; 1024][..length]).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = seconds(&watch) => assert_eq!(ended, (Ended::Idle, until)),
            () = write => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn http2_is_never_in_the_middle_of_a_head() {
    let watch = Watch::new();
    watch.read(b"PRI * HTTP/2.0");
    watch.read(b"ping");
    assert_eq!(seconds(&watch).await.0, Ended::Idle);
}

#[tokio::test(start_paused = true)]
async fn giving_up_is_no_flood_where_as_many_are_answered() {
    let watch = Watch::new();
    for _ in 0..10 * MOST_GIVEN_UP {
        watch.enter().answered();
        drop(watch.enter());
        let mut answered = watch.enter();
        answered.answered();
    }
    assert!(watch.due(&LIMITS).is_err());
    for _ in 0..MOST_GIVEN_UP {
        drop(watch.enter());
    }
    tokio::time::advance(2 * WINDOW).await;
    for _ in 0..MOST_GIVEN_UP {
        drop(watch.enter());
    }
    assert!(watch.due(&LIMITS) != Ok(Ended::Flood));
    drop(watch.enter());
    assert_eq!(watch.wait(&LIMITS).await, Ended::Flood);
}

#[tokio::test(start_paused = true)]
async fn giving_up_what_was_waited_for_is_no_flood() {
    let watch = Watch::new();
    for _ in 0..3 {
        let waiting: Vec<_> = (0..MOST_GIVEN_UP).map(|_| watch.enter()).collect();
        tokio::time::advance(EARLY).await;
        drop(waiting);
    }
    assert!(watch.due(&LIMITS) != Ok(Ended::Flood));
}

#[test]
fn the_last_words_are_as_long_as_they_say() {
    let text = std::str::from_utf8(TOO_SLOW).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("content-length: {}\r\n", body.len())),
        "{}",
        body.len()
    );
}
