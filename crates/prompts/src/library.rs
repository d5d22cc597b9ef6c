//! All parts and personas: those built into the program, and those of a folder that stand in for them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::persona::PersonaSpec;
use crate::{PHASES, Part, ROLES, phase_name};

/// The parts that prompts are made of, and who is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Library {
    parts: BTreeMap<String, Part>,
    personas: BTreeMap<String, PersonaSpec>,
}

/// Why parts or personas cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// A part is malformed or missing.
    #[error("prompt part `{name}`: {problem}")]
    Part {
        /// Its name, such as `phases/plan`.
        name: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A persona is malformed or missing.
    #[error("persona `{name}`: {problem}")]
    Persona {
        /// Its name, such as `planner`.
        name: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The baseline is not what it should be.
    #[error("baseline of the prompts: {0}")]
    Baseline(String),
    /// The folder cannot be read.
    #[error("prompt folder: {path}: {source}")]
    Folder {
        /// The file or folder.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

macro_rules! bundled {
    ($ending:literal: $($name:literal)*) => {
        [$(($name, include_str!(concat!("../../../prompts/", $name, $ending)))),*]
    };
}

const PARTS: [(&str, &str); 23] = bundled!(".md":
    "core" "roles/planner" "roles/implementer" "roles/reviewer"
    "phases/strategize" "phases/spec" "phases/plan" "phases/think" "phases/implement" "phases/verify"
    "phases/review" "phases/pr" "phases/monitor"
    "domains/orchestrator" "domains/web" "domains/ml" "domains/api" "domains/security"
    "skills/smallest-change" "skills/tests-first" "skills/reproduce-first" "skills/safe-migration"
    "rubrics/review"
);
const PERSONAS: [(&str, &str); 3] =
    bundled!(".json": "personas/planner" "personas/implementer" "personas/reviewer");

/// Folders whose files may be added to; elsewhere a file stands in for one that is built in.
const OPEN_FOLDERS: [&str; 2] = ["skills", "rubrics"];
/// Folders with parts.
const FOLDERS: [&str; 5] = ["roles", "phases", "domains", "skills", "rubrics"];
/// Files of a folder that are read.
const MOST_FILES: usize = 500;

impl Library {
    /// What is built into this program.
    ///
    /// # Errors
    /// A file of it is malformed; the tests of this crate rule that out.
    pub fn bundled() -> Result<Self, LibraryError> {
        let mut library = Self { parts: BTreeMap::new(), personas: BTreeMap::new() };
        for (name, text) in PARTS {
            library.add_part(name, text)?;
        }
        for (name, text) in PERSONAS {
            library.add_persona(name.trim_start_matches("personas/"), text)?;
        }
        library.check()?;
        Ok(library)
    }

    /// What is built in, with the files of a folder that is laid out like `prompts/` in place of those of the same name.
    /// Skills, rubrics and second variants (`roles/planner.b.md`) may be added. Blocks: read it once, at the start.
    ///
    /// # Errors
    /// The folder cannot be read, holds a part that has no place, or one that is malformed.
    pub fn with_folder(folder: &Path) -> Result<Self, LibraryError> {
        let mut library = Self::bundled()?;
        for path in files(folder)? {
            let Some(name) = name_in(folder, &path) else { continue };
            let shown = path.display().to_string();
            let text = std::fs::read_to_string(&path)
                .map_err(|source| LibraryError::Folder { path: shown, source })?;
            match name.strip_prefix("personas/") {
                Some(persona) => library.add_persona(persona, &text)?,
                None => {
                    library.has_place(&name)?;
                    library.add_part(&name, &text)?;
                }
            }
        }
        library.check()?;
        Ok(library)
    }

    /// The part of that name.
    #[must_use]
    pub fn part(&self, name: &str) -> Option<&Part> {
        self.parts.get(name)
    }

    /// All parts, by name.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.values()
    }

    /// The names of the parts in a folder, without it: `names("domains")` has `api` and `web`.
    pub fn names<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a str> {
        self.parts.keys().filter_map(move |name| name.strip_prefix(folder)?.strip_prefix('/'))
    }

    /// Who is asked in a role.
    #[must_use]
    pub fn persona(&self, role: &str) -> Option<&PersonaSpec> {
        self.personas.get(role)
    }

    fn add_part(&mut self, name: &str, text: &str) -> Result<(), LibraryError> {
        self.parts.insert(name.to_owned(), Part::parse(name, text)?);
        Ok(())
    }

    fn add_persona(&mut self, name: &str, text: &str) -> Result<(), LibraryError> {
        let refuse = |problem: String| LibraryError::Persona { name: name.to_owned(), problem };
        let persona = PersonaSpec::parse(text).map_err(refuse)?;
        if persona.role != name || !ROLES.contains(&name) {
            let known = ROLES.join(", ");
            return Err(refuse(format!(
                "its file is called after its `role`, one of {known}; it says `{}`",
                persona.role
            )));
        }
        self.personas.insert(name.to_owned(), persona);
        Ok(())
    }

    /// A part that nothing would ask for is a mistake in a name.
    fn has_place(&self, name: &str) -> Result<(), LibraryError> {
        let is_open = OPEN_FOLDERS.iter().any(|folder| name.starts_with(&format!("{folder}/")));
        let original = name.strip_suffix(".b").unwrap_or(name);
        if is_open || self.parts.contains_key(original) {
            return Ok(());
        }
        let folder = original.split('/').next().unwrap_or_default();
        let known: Vec<&str> =
            self.parts.keys().map(String::as_str).filter(|name| name.starts_with(folder)).collect();
        let problem = format!("there is no such part to stand in for; known: {}", known.join(", "));
        Err(LibraryError::Part { name: name.to_owned(), problem })
    }

    /// That every prompt can be compiled.
    fn check(&self) -> Result<(), LibraryError> {
        let phases = PHASES.iter().map(|phase| format!("phases/{}", phase_name(*phase)));
        let roles = ROLES.iter().map(|role| format!("roles/{role}"));
        for name in phases.chain(roles).chain(["core".to_owned()]) {
            if !self.parts.contains_key(&name) {
                return Err(LibraryError::Part { name, problem: "it is missing".to_owned() });
            }
        }
        for role in ROLES {
            let refuse = |problem: String| LibraryError::Persona { name: role.to_owned(), problem };
            let persona = self.personas.get(role).ok_or_else(|| refuse("it is missing".to_owned()))?;
            let parts = persona.variants.values().filter_map(|variant| variant.part.as_ref());
            if let Some(missing) = parts.into_iter().find(|part| !self.parts.contains_key(*part)) {
                return Err(refuse(format!("a variant names the part `{missing}`, which does not exist")));
            }
        }
        Ok(())
    }
}

/// The name of the part or persona in a file, by its path; `None` for other files.
fn name_in(folder: &Path, path: &Path) -> Option<String> {
    let relative = path.strip_prefix(folder).ok()?.to_str()?;
    if relative.starts_with("personas/") {
        return relative.strip_suffix(".json").map(str::to_owned);
    }
    relative.strip_suffix(".md").map(str::to_owned)
}

/// The files of the folder and of those in it that hold parts or personas, in order.
fn files(folder: &Path) -> Result<Vec<std::path::PathBuf>, LibraryError> {
    let mut found = Vec::new();
    let inner = FOLDERS.iter().chain(["personas"].iter()).map(|name| (folder.join(name), false));
    for (folder, is_required) in std::iter::once((folder.to_owned(), true)).chain(inner) {
        let refused = |source| LibraryError::Folder { path: folder.display().to_string(), source };
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_required => continue,
            entries => entries.map_err(refused)?,
        };
        for entry in entries.take(MOST_FILES) {
            let path = entry.map_err(refused)?.path();
            if path.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
