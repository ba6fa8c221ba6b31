//! The annotation that lets instances serve more than one call.

use lattice_control::types::ANNOTATION_REUSE;
use lattice_core::StringMap;
use lattice_runtime::Reuse;

use super::error::ScaleError;

/// Reads what annotations say about reuse; nothing at all means that there is none.
pub(crate) fn parse(annotations: &StringMap) -> Result<Option<Reuse>, ScaleError> {
    let Some(value) = annotations.get(ANNOTATION_REUSE) else {
        return Ok(None);
    };
    match value.trim() {
        "true" => return Ok(Some(Reuse::default())),
        "false" => return Ok(None),
        _ => {}
    }
    match value.trim().parse() {
        Ok(max_uses) if max_uses > 0 => Ok(Some(Reuse {
            max_uses,
            ..Reuse::default()
        })),
        _ => Err(ScaleError::Annotation {
            name: ANNOTATION_REUSE,
            value: value.clone(),
        }),
    }
}

/// The annotations that a command leads to. One without any says nothing about reuse, which then
/// stays as it is.
pub(crate) fn merged(wanted: &StringMap, current: &StringMap) -> StringMap {
    let mut merged = wanted.clone();
    if let Some(value) = current.get(ANNOTATION_REUSE).filter(|_| wanted.is_empty()) {
        merged.insert(ANNOTATION_REUSE.to_owned(), value.clone());
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(value: &str) -> StringMap {
        [(ANNOTATION_REUSE.to_owned(), value.to_owned())].into()
    }

    #[test]
    fn instances_are_reused_only_when_the_annotation_says_so() {
        assert_eq!(parse(&StringMap::new()).unwrap(), None);
        assert_eq!(parse(&annotated("false")).unwrap(), None);
        assert_eq!(parse(&annotated("true")).unwrap(), Some(Reuse::default()));
        let hundred = parse(&annotated(" 100 ")).unwrap().unwrap();
        assert_eq!(hundred.max_uses, 100);
    }

    #[test]
    fn other_values_are_refused_by_name_with_a_hint() {
        for value in ["", "0", "-1", "yes", "99999999999"] {
            let error = parse(&annotated(value)).unwrap_err();
            assert!(error.to_string().contains("`lattice/reuse-instances`"));
            assert!(error.hint().is_some_and(|hint| hint.contains("`true`")));
        }
    }

    #[test]
    fn command_without_annotations_leaves_reuse_alone() {
        let other: StringMap = [("a".to_owned(), "b".to_owned())].into();
        let current = annotated("100");
        assert_eq!(merged(&StringMap::new(), &current), current);
        assert_eq!(merged(&other, &current), other);
        assert_eq!(merged(&StringMap::new(), &other), StringMap::new());
    }
}
