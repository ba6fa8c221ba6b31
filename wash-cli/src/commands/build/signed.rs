//! Signing what was built, as 1.x does: with the keys of the user, into a file beside it.

use std::path::{Path, PathBuf};

use lattice_claims::ComponentMetadata;
use lattice_claims::component::ValidTimes;
use lattice_claims::epoch_seconds;

use super::Built;
use super::project::Project;
use crate::commands::claims::Signing;
use crate::error::Result;
use crate::keys::SigningArgs;
use crate::output::Ui;

/// Signs a component of the project; gives the file that was written.
pub(super) fn sign(
    project: &Project,
    built: &Built,
    given: &SigningArgs,
    ui: &Ui,
) -> Result<PathBuf> {
    let keys = project.keys(given, project.component.key_directory.as_deref());
    let destination = project.component.destination.as_ref();
    let destination = destination.map(|path| project.folder.join(path));
    let signing = Signing {
        file: &built.component,
        named: &built.artifact,
        destination,
        metadata: metadata(project, &built.artifact),
        times: ValidTimes {
            now: epoch_seconds(),
            expires: None,
            not_before: None,
        },
        keys: &keys,
    };
    Ok(signing.sign(ui)?.destination)
}

/// What the project file says of the component.
fn metadata(project: &Project, artifact: &Path) -> ComponentMetadata {
    let stem = || Some(artifact.file_stem()?.to_string_lossy().into_owned());
    ComponentMetadata {
        name: project.name.clone().or_else(stem),
        version: project.version.clone(),
        revision: project.revision,
        tags: project.component.tags.clone(),
        call_alias: project.component.call_alias.clone(),
        ..ComponentMetadata::default()
    }
}
