//! Doors for the fuzz targets to what is private here. They are no part of the interface: they
//! change with what is behind them.

use std::sync::LazyLock;

use bytes::Bytes;
use lattice_claims::{KeyKind, PublicKey, SigningKey};
use wasmtime::Engine;

use crate::cache::signed::{entry_of, open, seal};
use crate::cache::{CodeKey, CodeKeys};
use crate::codec::{Names, NoHandles, Plan, Shape, decode_list, encode_list};

/// How deep types are made.
const DEEPEST: usize = 6;

/// Reads values of types that bytes choose; those that are read are written and read again.
pub fn values(types: &[u8], bytes: Bytes) {
    let mut kinds = types.iter().copied();
    let shape = Shape::new([plan(&mut kinds, DEEPEST), plan(&mut kinds, DEEPEST)]);
    let complete = shape.complete(&bytes);
    let decoded = decode_list(&shape, bytes.clone(), &mut NoHandles);
    assert_eq!(complete == Ok(Some(bytes.len())), decoded.is_ok());
    if let Ok(values) = decoded {
        let written =
            encode_list(&shape, &values, &mut NoHandles).expect("what was read is written");
        let again = decode_list(&shape, written.clone(), &mut NoHandles);
        let again = again.expect("what was written is read");
        // Not compared as they are: NaN is not equal to itself.
        assert_eq!(encode_list(&shape, &again, &mut NoHandles), Ok(written));
    }
}

/// Who is trusted with code, and the key of an entry.
struct Filed {
    signer: SigningKey,
    issuer: PublicKey,
    key: CodeKey,
}

static FILED: LazyLock<Filed> = LazyLock::new(|| {
    let signer = SigningKey::generate(KeyKind::Cluster);
    let issuer = PublicKey::parse(&signer.public_key()).expect("a generated key is read");
    let key = CodeKeys::of(&Engine::default()).key_for(b"");
    Filed {
        signer,
        issuer,
        key,
    }
});

/// Opens an entry of the code that hosts share, which nobody has signed.
pub fn shared_code(entry: &[u8]) {
    let Filed { issuer, key, .. } = &*FILED;
    assert!(open(*key, entry, issuer).is_err(), "nobody has signed it");
}

/// Opens an entry that is signed, and says that its code has `len` bytes.
pub fn signed_code(len: u64, packed: &[u8]) {
    let Filed {
        signer,
        issuer,
        key,
    } = &*FILED;
    let entry = entry_of(*key, len, packed, signer).expect("a generated key signs");
    let Ok(code) = open(*key, &entry, issuer) else {
        return;
    };
    assert_eq!(code.len() as u64, len);
    let again = seal(*key, &code, signer).expect("what was opened is sealed");
    assert_eq!(open(*key, &again, issuer), Ok(code));
}

fn plan(kinds: &mut impl Iterator<Item = u8>, deep: usize) -> Plan {
    let kind = kinds.next().unwrap_or_default();
    let mut inner = || plan(kinds, deep - 1);
    match kind % 24 {
        0..16 if deep == 0 => Plan::U8,
        0 => Plan::list(inner()),
        1 => Plan::Record([("a".to_owned(), inner()), ("b".to_owned(), inner())].into()),
        2 => Plan::Tuple([inner(), inner()].into()),
        3 => Plan::Tuple([].into()),
        4 => Plan::Variant {
            names: Names::new(["a", "b", "c"]),
            cases: [Some(inner()), None, Some(inner())].into(),
        },
        5 => Plan::Option(inner().into()),
        6 => Plan::result(Some(inner()), None),
        7 => Plan::result(None, Some(inner())),
        8 => Plan::list(Plan::Tuple([].into())),
        9..16 => Plan::Bytes,
        16 => Plan::Enum(Names::new((0..200).map(|at| at.to_string()))),
        17 => Plan::Flags(Names::new((0..40).map(|at| at.to_string()))),
        18 => Plan::Char,
        19 => Plan::String,
        20 => Plan::S64,
        21 => Plan::U16,
        22 => Plan::F32,
        _ => Plan::Bool,
    }
}
