//! What the folder of compiled code keeps, and what it refuses.

use super::*;

fn wasm() -> Vec<u8> {
    wat::parse_str(r#"(component (core module $m (func (export "f") unreachable)))"#).unwrap()
}

fn open(dir: &Path) -> CodeCache {
    CodeCache::open(dir, 1 << 20).unwrap()
}

fn key_for(engine: &Engine, wasm: &[u8]) -> CodeKey {
    CodeKeys::of(engine).key_for(wasm)
}

fn stored(dir: &Path, engine: &Engine) -> (CodeCache, CodeKey) {
    let cache = open(dir);
    let key = key_for(engine, &wasm());
    cache.store(key, &Component::new(engine, wasm()).unwrap());
    (cache, key)
}

#[test]
fn what_was_stored_is_found_again_by_the_next_process() {
    let (dir, engine) = (tempfile::tempdir().unwrap(), Engine::default());
    let (_, key) = stored(dir.path(), &engine);
    let again = open(dir.path());
    assert_eq!(key_for(&Engine::default(), &wasm()), key);
    assert!(again.load(&engine, key).is_some());
}

#[test]
fn a_tampered_file_is_removed_and_ignored() {
    let (dir, engine) = (tempfile::tempdir().unwrap(), Engine::default());
    let (cache, key) = stored(dir.path(), &engine);
    let path = cache.path(key);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(cache.load(&engine, key).is_none());
    assert!(!path.exists());
}

#[test]
fn a_file_of_another_folder_is_ignored() {
    let engine = Engine::default();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, key) = stored(one.path(), &engine);
    let second = open(two.path());
    fs::copy(first.path(key), second.path(key)).unwrap();
    assert!(second.load(&engine, key).is_none());
}

#[test]
fn one_entry_cannot_stand_for_another() {
    let (dir, engine) = (tempfile::tempdir().unwrap(), Engine::default());
    let (cache, key) = stored(dir.path(), &engine);
    let other = key_for(&engine, b"other");
    fs::copy(cache.path(key), cache.path(other)).unwrap();
    assert!(cache.load(&engine, other).is_none());
}

#[cfg(unix)]
#[test]
fn files_are_private_and_a_key_that_is_not_is_replaced() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, engine) = (tempfile::tempdir().unwrap(), Engine::default());
    let (cache, key) = stored(dir.path(), &engine);
    let key_file = dir.path().join(KEY_FILE);
    for path in [&key_file, &cache.path(key)] {
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o644)).unwrap();
    let again = open(dir.path());
    assert_ne!(again.key, cache.key);
    assert!(again.load(&engine, key).is_none());
}

#[test]
fn a_folder_that_cannot_be_had_is_done_without() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(CodeCache::open_if_possible(&file.join("cache"), 1 << 20).is_none());
    let key = dir.path().join("cache").join(KEY_FILE);
    fs::create_dir_all(&key).unwrap();
    assert!(CodeCache::open_if_possible(&dir.path().join("cache"), 1 << 20).is_none());
    assert!(key.is_dir());
}

#[cfg(unix)]
#[test]
fn the_key_of_another_user_is_not_thrown_away() {
    assert!(is_private_of(1000, 1000, 0o100_600).unwrap());
    assert!(!is_private_of(1000, 1000, 0o100_640).unwrap());
    let theirs = is_private_of(0, 1000, 0o100_600).unwrap_err();
    assert_eq!(theirs.kind(), io::ErrorKind::PermissionDenied);
}

#[cfg(unix)]
#[test]
fn the_user_of_the_process_is_who_owns_its_files() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = tempfile::tempdir().unwrap();
    let owner = fs::metadata(dir.path()).unwrap().uid();
    assert_eq!(own_user(dir.path()).unwrap(), owner);
}

/// A pipe that nobody is at the other end of.
#[cfg(unix)]
pub(crate) fn make_pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_waited_for() {
    let (dir, engine) = (tempfile::tempdir().unwrap(), Engine::default());
    let (cache, key) = stored(dir.path(), &engine);
    fs::remove_file(cache.path(key)).unwrap();
    make_pipe(&cache.path(key));
    assert!(cache.load(&engine, key).is_none());
    let key_file = dir.path().join(KEY_FILE);
    fs::remove_file(&key_file).unwrap();
    make_pipe(&key_file);
    let refused = CodeCache::open(dir.path(), 1 << 20).err().unwrap();
    let why = refused.to_string();
    assert!(why.contains("is no regular file"), "{why}");
    assert!(key_file.exists());
}

#[test]
fn the_folder_stays_within_its_limit() {
    let (dir, engine) = (tempfile::tempdir().unwrap(), Engine::default());
    let (cache, key) = stored(dir.path(), &engine);
    let full = CodeCache {
        max_bytes: 10,
        ..cache
    };
    full.prune();
    assert!(!full.path(key).exists());
}

#[cfg(unix)]
#[test]
fn what_killed_processes_left_behind_goes_and_nothing_else() {
    let (dir, engine) = (tempfile::tempdir().unwrap(), Engine::default());
    let (cache, key) = stored(dir.path(), &engine);
    let lock = format!("{key}.lock");
    let names = [&lock, "lattice-a.part", "other.lock", "lattice-new.part"];
    for name in names {
        let file = File::create(dir.path().join(name)).unwrap();
        if name != "lattice-new.part" {
            file.set_modified(SystemTime::now() - 2 * LEFT_BEHIND)
                .unwrap();
        }
    }
    cache.prune();
    let is_there = names.map(|name| dir.path().join(name).exists());
    assert_eq!(is_there, [false, false, true, true]);
    assert!(cache.has(key) && dir.path().join(KEY_FILE).exists());
}
