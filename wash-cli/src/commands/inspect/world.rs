//! The WIT side of a component: its world as text, its imports and exports as names.

use std::fmt::Write;

use wit_component::{DecodedWasm, WitPrinter};
use wit_parser::{PackageId, Resolve, WorldId, WorldItem, WorldKey};

/// What a component imports and exports.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
    /// The world and every package it uses, as WIT.
    pub(crate) wit: String,
}

impl World {
    /// Reads the world of a component or the contents of a WIT package.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let decoded = wit_component::decode(bytes).map_err(|error| format!("{error:#}"))?;
        let wit = print(decoded.resolve(), decoded.package())?;
        let (imports, exports) = match &decoded {
            DecodedWasm::Component(resolve, world) => names(resolve, *world),
            DecodedWasm::WitPackage(..) => (Vec::new(), Vec::new()),
        };
        Ok(Self {
            imports,
            exports,
            wit,
        })
    }

    /// A few lines for people.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::new();
        for (title, names) in [("Imports", &self.imports), ("Exports", &self.exports)] {
            if !text.is_empty() {
                text.push('\n');
            }
            if names.is_empty() {
                let _ = write!(text, "{title}: none");
                continue;
            }
            let _ = write!(text, "{title}:");
            for name in names {
                let _ = write!(text, "\n  {name}");
            }
        }
        text
    }
}

fn print(resolve: &Resolve, main: PackageId) -> Result<String, String> {
    let others: Vec<PackageId> = resolve
        .packages
        .iter()
        .map(|(id, _)| id)
        .filter(|id| *id != main)
        .collect();
    let mut printer = WitPrinter::default();
    printer
        .print(resolve, main, &others)
        .map_err(|error| format!("{error:#}"))?;
    Ok(printer.output.to_string().trim_end().to_owned())
}

fn names(resolve: &Resolve, world: WorldId) -> (Vec<String>, Vec<String>) {
    let world = &resolve.worlds[world];
    let list = |items: &mut dyn Iterator<Item = (&WorldKey, &WorldItem)>| {
        items
            .filter_map(|(key, item)| name(resolve, key, item))
            .collect()
    };
    (
        list(&mut world.imports.iter()),
        list(&mut world.exports.iter()),
    )
}

/// Types a world uses are no imports that anybody has to provide.
fn name(resolve: &Resolve, key: &WorldKey, item: &WorldItem) -> Option<String> {
    match item {
        WorldItem::Type { .. } => None,
        WorldItem::Interface { .. } | WorldItem::Function(_) => Some(resolve.name_world_key(key)),
    }
}
