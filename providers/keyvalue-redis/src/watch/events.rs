//! What Redis calls the changes of keys.

use lattice_provider_sdk::keyvalue::watch::{Change, Watched};

/// The letters that `notify-keyspace-events` has to have for some keys, each with what may stand
/// for it.
pub(crate) fn needs(watched: &Watched) -> impl Iterator<Item = [char; 2]> + use<> {
    let wanted = watched.wanted_at_all();
    let letters = [
        (true, ['K', 'K']),
        (wanted.set, ['$', 'A']),
        (wanted.delete, ['g', 'A']),
    ];
    letters
        .into_iter()
        .filter_map(|(needed, letters)| needed.then_some(letters))
}

/// What the name of a keyspace event means; `None` when the value stays as it is.
pub(crate) fn change_of(event: &str) -> Option<Change> {
    match event {
        "set" | "setrange" | "setbit" | "append" | "incrby" | "incrbyfloat" | "decrby"
        | "restore" | "rename_to" | "copy_to" | "move_to" | "pfadd" => Some(Change::Set(None)),
        "del" | "expired" | "evicted" | "rename_from" | "move_from" => Some(Change::Delete),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use lattice_provider_sdk::Settings;

    use super::*;

    #[test]
    fn only_what_is_wanted_is_needed_of_the_server() {
        let count = |text| {
            let settings = Settings::from_texts([("watch", text)], []);
            needs(&Watched::read(&settings).unwrap()).count()
        };
        assert_eq!(count("SET@a"), 2);
        assert_eq!(count("SET@a,DEL@b"), 3);
    }

    #[test]
    fn what_leaves_the_value_is_no_change() {
        assert_eq!(change_of("setbit"), Some(Change::Set(None)));
        assert_eq!(change_of("expired"), Some(Change::Delete));
        assert_eq!(change_of("expire"), None);
        assert_eq!(change_of("lpush"), None);
    }
}
