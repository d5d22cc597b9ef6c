//! Where the crew file is, and whether it is the only one. Read anew whenever it has changed (S0-4.3).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_norway::Value;
use sha2::{Digest as _, Sha256};

use super::{Crew, CrewError, legacy};
use crate::provider::Role;

/// Files looked at in one folder, and bytes of each: more is no folder of configuration.
const MOST_FILES: usize = 256;
const MOST_BYTES: u64 = 1024 * 1024;
/// The file that a folder's crew is read from if there are several that say the same.
const USUAL_NAME: &str = "crew.yaml";

/// A crew file, or a folder with one.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    /// Of everything that was looked at last.
    seen: String,
}

/// What has become of the file since it was looked at last.
#[derive(Debug)]
pub enum Reload {
    /// Nothing.
    Unchanged,
    /// It has changed, and is right.
    Changed(Box<Crew>),
    /// It has changed, and cannot be used.
    Broken(CrewError),
}

impl Source {
    /// Reads the crew at `path`: a file, or a folder with one. No other file of the folder may assign models to roles
    /// differently (S0-3).
    ///
    /// # Errors
    /// The file cannot be used, or another one says something else.
    pub fn open(path: &Path) -> Result<(Self, Crew), CrewError> {
        let files = files(path)?;
        let crew = read(path, &files)?;
        Ok((Self { path: path.to_owned(), seen: digest(&files) }, crew))
    }

    /// Looks again. What is broken is reported once for every change.
    pub fn look(&mut self) -> Reload {
        let files = match files(&self.path) {
            Ok(files) => files,
            Err(error) => {
                let gone = error.to_string();
                return if self.seen == gone {
                    Reload::Unchanged
                } else {
                    self.seen = gone;
                    Reload::Broken(error)
                };
            }
        };
        let seen = digest(&files);
        if self.seen == seen {
            return Reload::Unchanged;
        }
        self.seen = seen;
        match read(&self.path, &files) {
            Ok(crew) => Reload::Changed(Box::new(crew)),
            Err(error) => Reload::Broken(error),
        }
    }
}

type Files = BTreeMap<PathBuf, String>;

/// The file, and every other one beside it that assigns models to roles.
fn files(path: &Path) -> Result<Files, CrewError> {
    let io = |file: &Path| {
        let file = file.display().to_string();
        move |source| CrewError::Io { file, source }
    };
    let is_folder = std::fs::metadata(path).map_err(io(path))?.is_dir();
    let mut files = BTreeMap::new();
    if !is_folder {
        files.insert(path.to_owned(), std::fs::read_to_string(path).map_err(io(path))?);
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = if is_folder { path } else { parent };
    let own = path.canonicalize().ok();
    for entry in std::fs::read_dir(folder).map_err(io(folder))?.take(MOST_FILES).flatten() {
        let beside = entry.path();
        let is_yaml = beside.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
        let is_readable =
            std::fs::metadata(&beside).is_ok_and(|found| found.is_file() && found.len() <= MOST_BYTES);
        if !is_yaml || !is_readable || beside.canonicalize().ok() == own {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&beside) else { continue };
        if is_folder && beside.file_name().is_some_and(|name| name == USUAL_NAME) || assigns_roles(&text) {
            files.insert(beside, text);
        }
    }
    Ok(files)
}

/// Whether a text is a crew file of either shape, right or wrong. Templates and the like are none.
fn assigns_roles(text: &str) -> bool {
    let Ok(value) = serde_norway::from_str::<Value>(text) else { return false };
    let has = |key: &str| value.get(key).is_some_and(Value::is_mapping);
    has(legacy::ROOT) || (has("roles") && has("models"))
}

fn digest(files: &Files) -> String {
    let mut sha = Sha256::new();
    for (path, text) in files {
        sha.update(path.as_os_str().as_encoded_bytes());
        sha.update([0]);
        sha.update(Sha256::digest(text));
    }
    hex::encode(sha.finalize())
}

fn read(path: &Path, files: &Files) -> Result<Crew, CrewError> {
    let parse = |file: &PathBuf, text: &String| Crew::parse(text, &file.display().to_string());
    let usual = files.keys().find(|file| file.file_name().is_some_and(|name| name == USUAL_NAME));
    let chosen = files.get_key_value(path).map(|(file, _)| file).or(usual).or(files.keys().next());
    let Some((chosen, text)) = chosen.and_then(|chosen| files.get_key_value(chosen)) else {
        return Err(CrewError::Io {
            file: path.display().to_string(),
            source: std::io::Error::other("no file of this folder is a crew file; write crew.yaml"),
        });
    };
    let crew = parse(chosen, text)?;
    for (file, text) in files.iter().filter(|(file, _)| *file != chosen) {
        let other = parse(file, text)?;
        if let Some(roles) = disagreement(&crew, &other) {
            let (first, second) = (crew.file.clone(), other.file);
            return Err(CrewError::Disagree { first, second, roles });
        }
    }
    Ok(crew)
}

/// The roles to which two files assign different models, with both assignments.
fn disagreement(first: &Crew, second: &Crew) -> Option<String> {
    let differing = [Role::Planner, Role::Implementer, Role::Reviewer].into_iter().filter_map(|role| {
        let (one, other) = (first.assigned(role), second.assigned(role));
        (one != other).then(|| format!("{} ({one} against {other})", role.name()))
    });
    let differing: Vec<String> = differing.collect();
    (!differing.is_empty()).then(|| differing.join(", "))
}

impl Crew {
    /// The models of a role as people write them, `provider/model, …`.
    fn assigned(&self, role: Role) -> String {
        let Some(config) = self.roles.get(&role) else { return "nobody".to_owned() };
        let models = config.candidates.iter().filter_map(|name| self.models.get(name));
        let models: Vec<String> =
            models.map(|model| format!("{}/{}", model.provider, model.model_id)).collect();
        models.join(", ")
    }
}
