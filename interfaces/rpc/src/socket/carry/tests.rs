//! What a line keeps for whoever is at its other end.

use super::*;

use lattice_claims::CurveKey;
use lattice_core::identity::PeerTokens;

use crate::auth::{Auth, AuthSettings};
use crate::outbox::Outgoing;
use crate::socket::weight::tests::all_but;

/// How the line of a process ends that says this and never listens, where so much may be kept for it.
async fn end_of(said: Vec<u8>, left: usize) -> Result<(), LineError> {
    let unauthenticated = UnauthenticatedBytes::default();
    let _others = all_but(left, &unauthenticated);
    let (mut far, near) = UnixStream::pair().unwrap();
    let (board, stop) = (Switchboard::default(), CancellationToken::new());
    let carried = carry(near, &board, LineEnd::Somebody, &unauthenticated, &stop);
    let saying = async {
        far.write_all(GREETING).await.unwrap();
        // It is cut off while it speaks.
        let _ = far.write_all(&said).await;
        far
    };
    let both = async { tokio::join!(carried, saying) };
    let (ended, _far) = timeout(4 * GREETED, both).await.unwrap();
    ended
}

#[tokio::test]
async fn a_stranger_who_leaves_a_long_frame_unfinished_is_cut_off_when_all_have_too_much() {
    let mut said = vec![0; 1 << 20];
    said[..4].copy_from_slice(&(8_u32 << 20).to_be_bytes());
    let ended = end_of(said, FREE).await;
    assert!(matches!(ended, Err(LineError::Heavy)), "{ended:?}");
}

#[tokio::test]
async fn a_stranger_who_reads_no_answers_is_cut_off_when_all_have_too_much() {
    let mut said = BytesMut::new();
    for _ in 0..128 {
        let message = Outgoing {
            payload: vec![0; 64 << 10].into(),
            ..Outgoing::reply("served.by.nobody".into(), "_INBOX.a.1-1".into())
        };
        let request = Request {
            message,
            local_only: false,
        };
        let payload = Frame::Request(request).write(&mut said);
        said.extend_from_slice(&payload);
    }
    let ended = end_of(said.to_vec(), 2 << 20).await;
    assert!(matches!(ended, Err(LineError::Heavy)), "{ended:?}");
}

/// Reads the next frame that comes.
async fn next_frame(far: &mut UnixStream, heard: &mut BytesMut) -> Frame {
    loop {
        if let Some(frame) = Frame::read(heard).unwrap() {
            return frame;
        }
        assert_ne!(far.read_buf(heard).await.unwrap(), 0, "the line has ended");
    }
}

#[tokio::test]
async fn what_a_stranger_says_to_serve_is_told_as_one_and_some_times_a_second() {
    let (mut far, near) = UnixStream::pair().unwrap();
    let (board, stop) = (Switchboard::default(), CancellationToken::new());
    let (reports, mut told) = mpsc::channel(2048);
    board.tell_by(&Auth::new(AuthSettings {
        lattice: "default".to_owned(),
        key: CurveKey::generate(),
        tokens: PeerTokens::default(),
        trusted: Vec::new(),
        strict: true,
        confined: true,
        links: None,
        reports: Some(reports),
    }));
    let unauthenticated = UnauthenticatedBytes::default();
    let carried = carry(near, &board, LineEnd::Somebody, &unauthenticated, &stop);
    let saying = async {
        let mut said = BytesMut::from(GREETING.as_slice());
        for number in 0..1000 {
            let function = format!("default.c{number}.wrpc.0.0.1.a:b/c.d");
            Frame::Have(function.into()).write(&mut said);
        }
        // Its answer shows that everything before was taken.
        Frame::Want("default.x.f".into()).write(&mut said);
        far.write_all(&said).await.unwrap();
        far.read_exact(&mut [0; GREETING.len()]).await.unwrap();
        let answer = next_frame(&mut far, &mut BytesMut::new()).await;
        assert!(matches!(answer, Frame::Gone(_)), "{answer:?}");
    };
    tokio::select! {
        ended = carried => panic!("{ended:?}"),
        () = saying => {}
    }
    let mut count = 0;
    while let Ok(report) = told.try_recv() {
        assert_eq!(report.target_id, "");
        assert!(report.operation.contains(".wrpc."), "{report:?}");
        count += 1;
    }
    // A slow machine may take some seconds.
    assert!((1..500).contains(&count), "{count}");
}

#[tokio::test]
async fn whoever_asks_for_ever_new_functions_is_told_of_each() {
    let (mut far, near) = UnixStream::pair().unwrap();
    let (board, stop) = (Switchboard::default(), CancellationToken::new());
    let unauthenticated = UnauthenticatedBytes::default();
    let provider = LineEnd::Provider("kv".into());
    let carried = carry(near, &board, provider, &unauthenticated, &stop);
    let asking = async {
        far.write_all(GREETING).await.unwrap();
        far.read_exact(&mut [0; GREETING.len()]).await.unwrap();
        let mut heard = BytesMut::new();
        for at in 0..MAX_FUNCTIONS + 2 {
            let mut asked = BytesMut::new();
            Frame::Want(format!("default.c{at}.f").into()).write(&mut asked);
            far.write_all(&asked).await.unwrap();
            let told = timeout(GREETED, next_frame(&mut far, &mut heard)).await;
            assert!(matches!(told, Ok(Frame::Gone(_))), "{at}: {told:?}");
        }
    };
    tokio::select! {
        ended = carried => panic!("{ended:?}"),
        () = asking => {}
    }
}
