//! The keys of a secure lattice.

use super::*;

#[test]
fn keys_are_kept_and_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let first = seeds(&path, None).unwrap();
    let again = seeds(&path, None).unwrap();
    assert_eq!(first.account, again.account);
    assert_eq!(first.authority, again.authority);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::write(&path, "{\"operator\": 7}").unwrap();
    let error = seeds(&path, None).map(drop).unwrap_err();
    assert_eq!(error.code(), Code::CredentialsInvalid);
}

#[test]
fn each_provider_with_its_backend_here_has_an_account_unless_they_share_one_already() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let accounts = |seeds: &Seeds| {
        let keys = seeds.read().unwrap();
        let all = keys
            .of_data()
            .map(|(name, key)| (key.public_key(), name.to_owned()));
        all.collect::<BTreeMap<_, _>>()
    };
    let new = seeds(&path, None).unwrap();
    let own = accounts(&new);
    assert_eq!(own.len(), ON_NATS.len() + 1);
    assert_eq!(accounts(&seeds(&path, None).unwrap()), own);
    let config = new.read().unwrap().config(folder.path()).unwrap();
    assert!(own.keys().all(|key| config.contains(key)), "{config}");
    let write = |change: fn(&mut serde_json::Map<String, serde_json::Value>)| {
        let mut text = serde_json::to_value(&new).unwrap();
        change(text.as_object_mut().unwrap());
        std::fs::write(&path, text.to_string()).unwrap();
    };
    // What is kept in the one account is found there again.
    write(|old| drop(old.remove("data_of")));
    let shared = accounts(&seeds(&path, None).unwrap());
    assert_eq!(shared.into_values().collect::<Vec<_>>(), [DATA]);
    // Nothing is kept where there was none.
    write(|old| old.retain(|name, _| !name.starts_with("data")));
    let completed = accounts(&seeds(&path, None).unwrap());
    assert_eq!(completed.len(), own.len());
    assert_eq!(accounts(&seeds(&path, None).unwrap()), completed);
}
