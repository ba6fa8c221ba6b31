//! Answers in XML, as trees of elements.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

/// How deep an answer may be nested.
const DEEPEST: usize = 32;

/// One element. Spaces in its text are kept: names of things may begin or end with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name without a prefix.
    pub name: String,
    /// The texts in it, joined.
    pub text: String,
    /// Its attributes.
    pub attributes: Vec<(String, String)>,
    /// The elements in it.
    pub children: Vec<Element>,
}

/// A text is no XML that can be read here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XmlError {
    /// It is none.
    #[error("the answer is no XML")]
    Syntax(#[from] quick_xml::Error),
    /// It refers to something that is not in it.
    #[error("the answer refers to `{0}`, which is not part of XML")]
    Reference(String),
    /// It ends too soon, or has nothing in it.
    #[error("the answer ends before its XML does")]
    Short,
    /// Elements lie in each other without end.
    #[error("the answer has elements within more than {DEEPEST} others")]
    Deep,
}

impl Element {
    /// Reads the one element that a text consists of.
    ///
    /// # Errors
    ///
    /// [`XmlError`].
    pub fn read(text: &str) -> Result<Self, XmlError> {
        // Services of Azure begin with a mark that XML does not know.
        let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
        let mut open: Vec<Self> = Vec::new();
        loop {
            let event = reader.read_event()?;
            let ended = match event {
                Event::Start(start) => {
                    if open.len() == DEEPEST {
                        return Err(XmlError::Deep);
                    }
                    open.push(begun(&start)?);
                    continue;
                }
                Event::Empty(start) => Some(begun(&start)?),
                Event::End(_) => Some(open.pop().ok_or(XmlError::Short)?),
                Event::Text(text) => {
                    add(&mut open, &text.decode().map_err(quick_xml::Error::from)?);
                    continue;
                }
                Event::CData(text) => {
                    add(&mut open, &text.decode().map_err(quick_xml::Error::from)?);
                    continue;
                }
                Event::GeneralRef(reference) => {
                    add(&mut open, &resolved(&reference)?);
                    continue;
                }
                Event::Eof => return Err(XmlError::Short),
                _ => continue,
            };
            if let Some(ended) = ended {
                match open.last_mut() {
                    Some(parent) => parent.children.push(ended),
                    None => return Ok(ended),
                }
            }
        }
    }

    /// The first child of that name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The first element of that name in it, however deep.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Self> {
        let own = self.children.iter();
        own.clone()
            .find(|child| child.name == name)
            .or_else(|| own.clone().find_map(|child| child.find(name)))
    }

    /// The text of the first child of that name; empty when there is none.
    #[must_use]
    pub fn text_of(&self, name: &str) -> &str {
        self.child(name).map_or("", |child| child.text.as_str())
    }

    /// The children of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn begun(start: &BytesStart<'_>) -> Result<Element, XmlError> {
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(quick_xml::Error::from)?;
        let value = attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0)?;
        attributes.push((
            name(attribute.key.local_name().as_ref()),
            value.into_owned(),
        ));
    }
    Ok(Element {
        name: name(start.local_name().as_ref()),
        attributes,
        ..Element::default()
    })
}

fn add(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn resolved(reference: &BytesRef<'_>) -> Result<String, XmlError> {
    if let Some(char) = reference.resolve_char_ref()? {
        return Ok(char.to_string());
    }
    let name = reference.decode().map_err(quick_xml::Error::from)?;
    match quick_xml::escape::resolve_predefined_entity(&name) {
        Some(text) => Ok(text.to_owned()),
        None => Err(XmlError::Reference(name.into_owned())),
    }
}

/// A text as it is written between tags.
#[must_use]
pub fn escaped(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_are_read_with_their_texts() {
        let text = "\u{feff}<?xml version=\"1.0\"?><a:List xmlns:a=\"urn:x\"><Name kind=\"&lt;1\"> x &amp;&#65; </Name>\
                    <Name/><Name><![CDATA[<y>]]></Name></a:List>";
        let list = Element::read(text).unwrap();
        assert_eq!(list.name, "List");
        let names: Vec<_> = list.all("Name").map(|name| name.text.as_str()).collect();
        assert_eq!(names, [" x &A ", "", "<y>"]);
        assert_eq!(list.children[0].attribute("kind"), Some("<1"));
        assert_eq!(list.text_of("Nothing"), "");
        let nested = Element::read("<a><b><c>1</c></b><c>2</c></a>").unwrap();
        assert_eq!(nested.find("c").map(|c| c.text.as_str()), Some("2"));
        assert_eq!(nested.find("a"), None);
    }

    #[test]
    fn what_is_no_xml_is_an_error() {
        for bad in ["", "text", "<a>", "<a></b>", "<a>&nbsp;</a>", "<a"] {
            assert!(Element::read(bad).is_err(), "{bad}");
        }
        let deep = "<a>".repeat(DEEPEST + 1);
        assert!(matches!(Element::read(&deep), Err(XmlError::Deep)));
    }

    proptest! {
        #[test]
        // Line ends are one kind in XML.
        fn escaped_texts_are_read(text in "[^\r\u{0}-\u{8}\u{b}\u{c}\u{e}-\u{1f}\u{fffe}\u{ffff}]*") {
            let read = Element::read(&format!("<a>{}</a>", escaped(&text))).unwrap();
            prop_assert_eq!(read.text, text);
        }

        #[test]
        fn nothing_panics(text in "[<>/a&;!\\[\\]#\"= ]*") {
            let _ = Element::read(&text);
        }
    }
}
