//! The broker's part of a login by SCRAM-SHA-256, as RFC 5802 and RFC 7677 have it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

const SALT: &[u8] = b"salt of the earth";
const ROUNDS: u32 = 4096;
/// What the broker adds to the number of the client.
const OWN_NUMBER: &str = "broker";

/// One login, step by step.
#[derive(Default)]
pub(crate) struct Scram {
    /// What was said in the first step: by the client, and by the broker.
    first: Option<(String, String)>,
}

/// What the broker says to a step.
pub(crate) enum Answer {
    /// More is to come.
    GoOn(String),
    /// The client knows the password, and is shown that the broker does.
    Welcome(String),
    /// It does not.
    Refused,
}

impl Scram {
    pub(crate) fn step(&mut self, said: &str, (user, password): (&str, &str)) -> Answer {
        let Some((client, broker)) = self.first.take() else {
            let first = said.strip_prefix("n,,").unwrap();
            let number = first.strip_prefix(&format!("n={user},r="));
            let Some(number) = number else {
                return Answer::Refused;
            };
            let salt = STANDARD.encode(SALT);
            let answer = format!("r={number}{OWN_NUMBER},s={salt},i={ROUNDS}");
            self.first = Some((first.to_owned(), answer.clone()));
            return Answer::GoOn(answer);
        };
        let (bare, proof) = said.rsplit_once(",p=").unwrap();
        let all = format!("{client},{broker},{bare}");
        let salted = salted(password);
        let key = keyed(&salted, b"Client Key");
        let signature = keyed(&Sha256::digest(key), all.as_bytes());
        let expected: Vec<u8> = key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        if STANDARD.decode(proof).unwrap() != expected {
            return Answer::Refused;
        }
        let own = keyed(&keyed(&salted, b"Server Key"), all.as_bytes());
        Answer::Welcome(format!("v={}", STANDARD.encode(own)))
    }
}

fn keyed(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// The password as PBKDF2 makes it, of which one block is enough.
fn salted(password: &str) -> [u8; 32] {
    let mut last = keyed(password.as_bytes(), &[SALT, &1_u32.to_be_bytes()].concat());
    let mut sum = last;
    for _ in 1..ROUNDS {
        last = keyed(password.as_bytes(), &last);
        sum.iter_mut()
            .zip(last)
            .for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}
