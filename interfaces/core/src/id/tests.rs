//! What is an id and what is not.

use super::*;
use proptest::prelude::*;

const HOST: &str = "NAJFSUSOSOQSJBI3OXWQAQX7L2I3QWKFE6RBHJFWRZTZQFB2VUI4ZD2C";

#[test]
fn names_of_a_1_9_lattice_are_accepted() {
    for id in ["counter", "myapp-http_server", HOST, "VBDG"] {
        assert_eq!(ComponentId::new(id).unwrap(), id);
    }
    assert_eq!(HostId::new(HOST).unwrap().as_str(), HOST);
    assert_eq!(LinkName::default().as_str(), "default");
    assert_eq!(LatticeName::default().as_str(), "default");
    assert!(LinkName::new("v1.2").is_ok() && LinkName::new("backup store").is_ok());
    assert!(ImageRef::new("file:///a folder/x.wasm").is_ok());
}

#[test]
fn texts_that_cannot_be_tokens_are_refused_by_name() {
    for text in ["", "a.b", "a*", ">", "a b", "a\tb", "a\u{0}", "ä"] {
        let error = ComponentId::new(text).unwrap_err();
        assert_eq!(error.text, text);
        assert!(LatticeName::new(text).is_err(), "{text:?}");
        assert!(ConfigName::new(text).is_err(), "{text:?}");
    }
    assert_eq!(
        ComponentId::new("a.b").unwrap_err().to_string(),
        "`a.b` is not a valid component or provider id: '.' is not allowed, \
         only ASCII letters, digits, `-`, `_`, `/` and `=`"
    );
    assert_eq!(
        ConfigName::new("").unwrap_err().to_string(),
        "`` is not a valid config name: it is empty"
    );
}

#[test]
fn whoever_does_what_the_hint_says_is_accepted() {
    for (refused, expected) in [
        (ComponentId::new("a.b").unwrap_err(), "my-counter"),
        (LatticeName::new("a/b").unwrap_err(), "my-counter"),
        (LinkName::new("a\tb").unwrap_err(), "my-counter"),
        (WitName::new("a_b").unwrap_err(), "my-counter"),
        (InterfaceName::new("a b").unwrap_err(), "my-counter"),
        (ImageRef::new("a\nb").unwrap_err(), "my-counter"),
        (ConfigName::new("").unwrap_err(), "fill it in"),
        (
            ConfigName::new("x".repeat(999)).unwrap_err(),
            "a shorter one",
        ),
        (HostId::new("N").unwrap_err(), "that form"),
    ] {
        assert!(refused.hint().contains(expected), "{refused}");
    }
    let word = "my-counter";
    assert!(ComponentId::new(word).is_ok() && LatticeName::new(word).is_ok());
    assert!(LinkName::new(word).is_ok() && ConfigName::new(word).is_ok());
    assert!(InterfaceName::new(word).is_ok());
    assert!(WitName::new(word).is_ok() && ImageRef::new(word).is_ok());
}

#[test]
fn a_link_name_has_plain_blanks_between_its_words_only() {
    for name in ["", " ", " a", "a ", "a\tb", "a\u{a0}b", "a\nb"] {
        assert!(LinkName::new(name).is_err(), "{name:?}");
    }
}

#[test]
fn long_texts_are_refused_and_cut_in_messages() {
    let long = "x".repeat(MAX_NAME_BYTES + 1);
    let error = ComponentId::new(&long).unwrap_err();
    assert_eq!(
        error.rule,
        IdRule::TooLong {
            max: MAX_NAME_BYTES
        }
    );
    assert!(error.to_string().len() < 200);
}

#[test]
fn host_ids_are_server_keys() {
    for text in [
        "",
        "N",
        &HOST[1..],
        &HOST.to_lowercase(),
        &HOST.replace('J', "1"),
    ] {
        assert!(HostId::new(text).is_err(), "{text:?}");
    }
    let module = HOST.replacen('N', "M", 1);
    assert!(HostId::new(module).is_err());
}

#[test]
fn wit_names_are_kebab_words() {
    for text in ["wasi", "incoming-handler", "DNS-timeout", "http2"] {
        assert!(WitName::new(text).is_ok(), "{text}");
    }
    for text in ["", "-a", "a-", "a--b", "2a", "a_b", "a:b"] {
        assert!(WitName::new(text).is_err(), "{text}");
    }
}

#[test]
fn serde_is_transparent_and_checks() {
    let id: ComponentId = serde_json::from_str("\"cart\"").unwrap();
    assert_eq!(serde_json::to_string(&id).unwrap(), "\"cart\"");
    let error = serde_json::from_str::<ComponentId>("\"a b\"").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("is not a valid component or provider id")
    );
}

proptest! {
    #[test]
    fn accepted_ids_format_and_parse_back(text in "[-_=/a-zA-Z0-9]{1,256}") {
        let id = ComponentId::new(&text).unwrap();
        prop_assert_eq!(id.to_string().parse::<ComponentId>().unwrap(), id);
    }

    #[test]
    fn an_accepted_id_is_one_subject_token(text in any::<String>()) {
        if let Ok(id) = ComponentId::new(&text) {
            prop_assert!(!id.as_str().is_empty());
            prop_assert!(!id.as_str().contains(['.', '*', '>', ' ', '\t', '\r', '\n']));
        }
        if let Ok(name) = LatticeName::new(&text) {
            prop_assert!(!name.as_str().contains(['.', '*', '>', ' ', '/']));
        }
    }

    #[test]
    fn no_text_makes_a_check_panic(text in any::<String>()) {
        let _ = (HostId::new(&text), LinkName::new(&text), ImageRef::new(&text));
        let _ = (WitName::new(&text), ConfigName::new(&text));
    }
}
