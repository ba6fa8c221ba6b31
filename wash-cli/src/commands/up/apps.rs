//! The components that `wash up` is given: read before anything starts, so that a wrong file costs
//! nothing.

use std::collections::BTreeSet;
use std::path::Path;

use lattice_core::ComponentId;
use serde_json::{Value, json};

use crate::commands::inspect::{World, world_of};
use crate::error::{CliError, Code, Result};
use crate::output::Style;
use crate::resolve;

/// A component from the command line.
#[derive(Debug)]
pub(super) struct App {
    pub(super) id: ComponentId,
    pub(super) image: String,
    pub(super) world: World,
    /// Whether it carries a token; hosts look at what that says.
    pub(super) signed: bool,
}

/// A component that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) id: String,
    /// Where it answers HTTP.
    pub(super) url: Option<String>,
    /// Which provider stands for which package.
    pub(super) links: Vec<(String, String)>,
    /// Interfaces that are not linked by themselves.
    pub(super) left: Vec<String>,
}

impl Running {
    pub(super) fn document(&self) -> Value {
        let links = self.links.iter();
        let links: Vec<Value> = links
            .map(|(interface, provider)| json!({ "interface": interface, "provider": provider }))
            .collect();
        json!({ "id": self.id, "url": self.url, "links": links, "unlinked": self.left })
    }

    /// A line for the component and one for each of its interfaces.
    pub(super) fn text(&self, style: Style) -> String {
        let mut text = style.bold(&self.id);
        if let Some(url) = &self.url {
            text.push_str(&format!("  {url}"));
        }
        text.push('\n');
        // What a component calls and what calls it may be the same package and provider.
        let mut links = self.links.clone();
        links.dedup();
        for (interface, provider) in &links {
            text.push_str(&format!("  {interface} linked to {provider}\n"));
        }
        for interface in &self.left {
            text.push_str(&format!(
                "  {interface} is not linked; use `wash link put`\n"
            ));
        }
        text
    }
}

/// Reads the components and what they import.
pub(super) fn read(files: &[String]) -> Result<Vec<App>> {
    let apps: Vec<App> = files
        .iter()
        .map(|file| App::read(file))
        .collect::<Result<_>>()?;
    let mut seen = BTreeSet::new();
    match apps.iter().find(|app| !seen.insert(app.id.as_str())) {
        None => Ok(apps),
        Some(twice) => {
            let text = format!("two components would get the id `{}`", twice.id);
            Err(CliError::new(Code::Usage, text)
                .hint("their ids are the names of their files; give one of them another name"))
        }
    }
}

impl App {
    fn read(file: &str) -> Result<Self> {
        let (world, signed) = world_of(file)?;
        let image = resolve::image_ref(file)?;
        let stem = Path::new(file)
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy();
        // What ids may not have.
        let id = stem.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "-");
        Ok(Self {
            id: resolve::entity_id(&id)?,
            image,
            world,
            signed,
        })
    }
}
