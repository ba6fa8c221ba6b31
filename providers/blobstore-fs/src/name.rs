//! What the file of an object is called.
//!
//! A `/` in a name parts folders, as in 1.x: `notes/2026 ü.txt` is the file `2026 ü.txt` in the folder
//! `notes`. The bytes between stay as they are, but for `\`, `%`, control characters, and a point in
//! front, which are written as `%` and two hex digits. So no name leaves its container, means a folder
//! itself, or hides.
//!
//! Some names cannot be parted so: where nothing stands before, behind or between two `/`, where a part
//! would be too long for a file or there are too many, and where another object has the name of a folder
//! that it would take. They are one file, with `%2F` for `/`, as all such names were in the first
//! version. An object that has the name of a folder is the file `%` in it.
//!
//! A name in one file that would be too long is cut in parts. All but the last are folders whose names
//! end in `%`, which no other folder's does, and all but the first begin with `+`.

/// The longest part, in bytes. File systems take 255.
const LONGEST: usize = 240;

/// What a part that is a folder ends with.
const FOLDER: char = '%';

/// The file of an object that has the name of the folder it is in; no other name is written so.
pub(crate) const ITSELF: &str = "%";

/// In how many folders a file may be.
pub(crate) const DEEPEST: usize = 64;

/// What a part after the first begins with, so that it cannot be `..`.
const MORE: char = '+';

/// A name as a file has it.
#[must_use]
pub fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    for (at, char) in name.char_indices() {
        let plain = match char {
            '/' | '\\' | '%' | '\x7f' => false,
            '.' => at > 0,
            other => other >= ' ',
        };
        if plain {
            out.push(char);
        } else {
            let byte = char as u32;
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.extend(char::from_digit(nibble, 16).map(|digit| digit.to_ascii_uppercase()));
            }
        }
    }
    out
}

/// The name that a file was called for; `None` if it is for none.
#[must_use]
pub fn decode(file: &str) -> Option<String> {
    let mut out = Vec::with_capacity(file.len());
    let mut bytes = file.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    let name = String::from_utf8(out).ok()?;
    // A name is written in one way only, or two files would be one object.
    (!name.is_empty() && encode(&name) == file).then_some(name)
}

/// The folders, from the outermost, and the file of an object.
#[must_use]
pub fn parts(name: &str) -> (Vec<String>, String) {
    let encoded = encode(name);
    let mut folders = Vec::new();
    let mut rest = encoded.as_str();
    let mut begin = String::new();
    while begin.len() + rest.len() > LONGEST {
        let mut at = LONGEST - begin.len() - FOLDER.len_utf8();
        while !rest.is_char_boundary(at) {
            at -= 1;
        }
        let (part, left) = rest.split_at(at);
        folders.push(format!("{begin}{part}{FOLDER}"));
        begin = MORE.to_string();
        rest = left;
    }
    (folders, format!("{begin}{rest}"))
}

/// Where the file of an object may be: in folders, from the outermost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) folders: Vec<String>,
    pub(crate) file: String,
}

/// Where an object may be, first where it is put if nothing is in the way.
pub(crate) fn places(name: &str) -> Vec<Place> {
    let (folders, file) = parts(name);
    let flat = Place { folders, file };
    let mut all = Vec::with_capacity(3);
    let mut segments: Vec<_> = name.split('/').map(encode).collect();
    let fits = |segment: &String| (1..=LONGEST).contains(&segment.len());
    if segments.iter().all(fits) && segments.len() <= DEEPEST {
        let inside = Place {
            folders: segments.clone(),
            file: ITSELF.to_owned(),
        };
        if let Some(file) = segments.pop() {
            let folders = segments;
            all.push(Place { folders, file });
        }
        all.push(inside);
    }
    if all.first() != Some(&flat) {
        all.push(flat);
    }
    all
}

/// What is in a folder for parts of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// The file of an object; this is the rest of its encoded name.
    Last(String),
    /// A folder with the rest of names that begin so.
    Folder(String),
}

impl Part {
    /// What an entry of a folder is; `inner` says that the folder is for parts after the first.
    pub(crate) fn of(entry: &str, inner: bool) -> Option<Self> {
        let text = if inner {
            entry.strip_prefix(MORE)?
        } else {
            entry
        };
        match text.strip_suffix(FOLDER) {
            Some(folder) => Some(Self::Folder(folder.to_owned())),
            None => Some(Self::Last(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_names_stay_as_they_are() {
        for name in ["a", "photo 1.jpg", "Grüße ☃", "a+b", "a.b..", "-x", "~"] {
            assert_eq!(encode(name), name);
        }
    }

    #[test]
    fn no_name_leaves_its_folder() {
        assert_eq!(encode("."), "%2E");
        assert_eq!(encode(".."), "%2E.");
        assert_eq!(encode("../../etc/passwd"), "%2E.%2F..%2Fetc%2Fpasswd");
        assert_eq!(encode("/abs"), "%2Fabs");
        assert_eq!(encode("a\0b"), "a%00b");
        assert_eq!(encode("c:\\x"), "c:%5Cx");
    }

    #[test]
    fn files_that_are_no_objects_have_no_name() {
        for file in ["", ".hidden", "50%", "%2", "%zz", "a%2fb", "%41", "a\nb"] {
            assert_eq!(decode(file), None, "{file:?}");
        }
    }

    proptest! {
        #[test]
        fn every_name_has_its_own_file(name in ".{1,1200}") {
            let (folders, file) = parts(&name);
            let mut encoded = String::new();
            for (at, folder) in folders.iter().enumerate() {
                prop_assert!(folder.len() <= LONGEST);
                match Part::of(folder, at > 0) {
                    Some(Part::Folder(part)) => encoded.push_str(&part),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            match Part::of(&file, !folders.is_empty()) {
                Some(Part::Last(part)) => encoded.push_str(&part),
                other => prop_assert!(false, "{other:?}"),
            }
            prop_assert!(file.len() <= LONGEST && !file.contains('/'));
            prop_assert!(file != "." && file != "..");
            prop_assert_eq!(decode(&encoded), Some(name));
        }

        #[test]
        fn whatever_is_in_a_folder_is_one_name_or_none(file in "[a-c%2EF./+]{0,8}") {
            if let Some(name) = decode(&file) {
                prop_assert_eq!(encode(&name), file);
            }
        }
    }
}
