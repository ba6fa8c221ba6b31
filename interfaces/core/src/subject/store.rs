//! Names of buckets and keys in the lattice store.

use crate::id::{ComponentId, ConfigName, LatticeName};
use crate::link::LinkKey;

const COMPONENT: &str = "COMPONENT_";
const CLAIMS: &str = "CLAIMS_";
const LINK_STATUS: &str = "LINK";

/// What the names of a lattice's own buckets start with, whichever lattice it is.
pub const BUCKET_PREFIXES: [&str; 3] = ["LATTICEDATA_", "CONFIGDATA_", "LATTICESTATUS_"];

/// What the streams of key-value buckets are called before the bucket's name.
const BUCKET_STREAM: &str = "KV_";

/// The same for buckets of objects.
const OBJECT_STREAM: &str = "OBJ_";

/// What the names of buckets of compiled code start with.
const CODE_BUCKET: &str = "CODECACHE_";

/// The stream behind a key-value bucket.
#[must_use]
pub fn bucket_stream(bucket: &str) -> String {
    format!("{BUCKET_STREAM}{bucket}")
}

/// The bucket that a stream stands for, if it is one.
#[must_use]
pub fn parse_bucket_stream(stream: &str) -> Option<&str> {
    stream.strip_prefix(BUCKET_STREAM)
}

/// The subjects of every key of a bucket.
#[must_use]
pub fn bucket_subjects(bucket: &str) -> String {
    format!("$KV.{bucket}.>")
}

/// The stream behind a bucket of objects.
#[must_use]
pub fn object_stream(bucket: &str) -> String {
    format!("{OBJECT_STREAM}{bucket}")
}

/// The bucket of component specs and claims.
#[must_use]
pub fn lattice_bucket(lattice: &LatticeName) -> String {
    format!("LATTICEDATA_{lattice}")
}

/// The bucket of named configs and secret references.
#[must_use]
pub fn config_bucket(lattice: &LatticeName) -> String {
    format!("CONFIGDATA_{lattice}")
}

/// The bucket of link states, unknown to 1.9 peers.
#[must_use]
pub fn status_bucket(lattice: &LatticeName) -> String {
    format!("LATTICESTATUS_{lattice}")
}

/// The bucket of compiled code, a bucket of objects, unknown to 1.9 peers.
#[must_use]
pub fn code_bucket(lattice: &LatticeName) -> String {
    format!("{CODE_BUCKET}{lattice}")
}

/// What the usual buckets of locks begin with, whichever lattice they are of.
pub const LOCK_BUCKETS: &str = "lock_";

/// The bucket of locks, where a link of the provider names none.
#[must_use]
pub fn lock_bucket(lattice: &LatticeName) -> String {
    format!("{LOCK_BUCKETS}{lattice}")
}

/// What the usual buckets of jobs begin with, whichever lattice they are of.
pub const SCHEDULE_BUCKETS: &str = "schedule_";

/// The bucket of jobs that come due, where a link of the provider names none.
#[must_use]
pub fn schedule_bucket(lattice: &LatticeName) -> String {
    format!("{SCHEDULE_BUCKETS}{lattice}")
}

/// Whether a bucket of objects is one of compiled code, whichever lattice it is of.
#[must_use]
pub fn is_code_bucket(bucket: &str) -> bool {
    bucket.starts_with(CODE_BUCKET)
}

/// The name of compiled code in that bucket: who signed it, and the key of what it is.
#[must_use]
pub fn code_object(issuer: &str, key: &str) -> String {
    format!("{issuer}/{key}")
}

/// Whether a stream belongs to a lattice: it stands behind one of its buckets.
#[must_use]
pub fn is_stream_of(stream: &str, lattice: &str) -> bool {
    let bucket = parse_bucket_stream(stream);
    let records = BUCKET_PREFIXES
        .iter()
        .any(|kind| bucket.and_then(|bucket| bucket.strip_prefix(kind)) == Some(lattice));
    let objects = stream.strip_prefix(OBJECT_STREAM);
    let code = objects.and_then(|bucket| bucket.strip_prefix(CODE_BUCKET));
    records || code == Some(lattice)
}

/// The key of a component spec.
#[must_use]
pub fn component_key(id: &ComponentId) -> String {
    format!("{COMPONENT}{id}")
}

/// The key of stored claims; the subject is a public key.
#[must_use]
pub fn claims_key(subject: &str) -> String {
    format!("{CLAIMS}{subject}")
}

/// The key of a config.
#[must_use]
pub fn config_key(name: &ConfigName) -> String {
    name.as_str().to_owned()
}

/// What a key of the lattice bucket is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LatticeKey {
    /// The spec of an entity.
    Component(ComponentId),
    /// The claims of a public key.
    Claims(String),
    /// A record of an older generation, which is ignored.
    Legacy,
    /// Nothing this version knows.
    Unknown,
}

/// Says what a key of the lattice bucket is about.
#[must_use]
pub fn parse_lattice_key(key: &str) -> LatticeKey {
    if let Some(id) = key.strip_prefix(COMPONENT) {
        return ComponentId::new(id).map_or(LatticeKey::Unknown, LatticeKey::Component);
    }
    if let Some(subject) = key
        .strip_prefix(CLAIMS)
        .filter(|subject| !subject.is_empty())
    {
        return LatticeKey::Claims(subject.to_owned());
    }
    if key.starts_with("LINKDEF_") || key.starts_with("REFMAP_") {
        return LatticeKey::Legacy;
    }
    LatticeKey::Unknown
}

/// The key of the state of one link at one end on one host.
///
/// The link name is free text, so it is written in hexadecimal; every part is
/// one token, so that all ends of a link share one wildcard.
#[must_use]
pub fn link_status_key(link: &LinkKey, endpoint: &ComponentId, host: &str) -> String {
    format!("{}.{endpoint}.{host}", link_status_base(link))
}

/// What the states of every end of a link have in common, without the dot.
#[must_use]
pub fn link_status_base(link: &LinkKey) -> String {
    let name: String = link
        .name
        .as_str()
        .bytes()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "{LINK_STATUS}.{}.{}.{}.{name}",
        link.source, link.namespace, link.package
    )
}

/// The link, the endpoint and the host of a status key.
#[must_use]
pub fn parse_link_status_key(key: &str) -> Option<(LinkKey, ComponentId, String)> {
    let tokens: Vec<&str> = key.splitn(8, '.').collect();
    let [
        LINK_STATUS,
        source,
        namespace,
        package,
        name,
        endpoint,
        host,
    ] = tokens[..]
    else {
        return None;
    };
    let link = LinkKey::new(source, namespace, package, &unhex(name)?).ok()?;
    Some((link, ComponentId::new(endpoint).ok()?, host.to_owned()))
}

fn unhex(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let decoded: Option<Vec<u8>> = bytes
        .chunks(2)
        .map(|pair| Some(digit(pair[0])? * 16 + digit(pair[1])?))
        .collect();
    String::from_utf8(decoded?).ok()
}
