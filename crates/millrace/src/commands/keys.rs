//! `keys`: the nkeys of all identities, for a nats-server that others run.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use millrace_runtime::launch;
use millrace_runtime::permissions::{IdentityKey, auth_template, generate_keys, public_key};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::cli::Keys;
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Output};

/// The public keys as variables, for the environment of nats-server.
const PUBLIC_KEYS: &str = "public-keys.env";
/// The users and permissions that refer to those variables.
const PERMISSIONS: &str = "auth.conf";

/// A seed and where it is.
pub(crate) struct Seed {
    /// Of which identity, with its public key.
    pub(crate) key: IdentityKey,
    file: PathBuf,
    created: bool,
}

/// Makes the seeds that are missing, and writes what is public anew.
pub(super) fn run(arguments: &Keys, output: &Output) -> Result<Exit, Failure> {
    let settings = launch::load(&launch::Arguments { config: arguments.config.clone(), print_config: false })
        .map_err(|error| {
            Failure::new(Exit::Configuration, error.to_string(), "Correct the configuration.")
        })?;
    let directory = &arguments.directory;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| Failure::file(directory, &error))?;
    let seeds = seeds(directory)?;
    let variables: String = seeds
        .iter()
        .map(|seed| format!("{}={}\n", seed.key.identity.key_variable(), seed.key.public_key))
        .collect();
    let public_keys = directory.join(PUBLIC_KEYS);
    replace(directory, &public_keys, &variables)?;
    let permissions = directory.join(PERMISSIONS);
    replace(directory, &permissions, &auth_template(&settings.installation()))?;
    show(&seeds, &public_keys, &permissions, output);
    Ok(Exit::Ok)
}

/// One seed for each identity; a file that is there is never written.
pub(crate) fn seeds(directory: &Path) -> Result<Vec<Seed>, Failure> {
    let fresh = generate_keys().map_err(|error| Failure::internal(format!("no key can be made: {error}")))?;
    fresh
        .into_iter()
        .map(|fresh| {
            let file = directory.join(format!("{}.seed", fresh.identity));
            match fs::read_to_string(&file) {
                Ok(text) => Ok(Seed { key: read(fresh, &file, text.trim())?, file, created: false }),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    create(directory, &file, &format!("{}\n", fresh.seed))?;
                    Ok(Seed { key: fresh, file, created: true })
                }
                Err(error) => Err(Failure::file(&file, &error)),
            }
        })
        .collect()
}

fn read(fresh: IdentityKey, file: &Path, seed: &str) -> Result<IdentityKey, Failure> {
    let public_key = public_key(seed).map_err(|error| {
        let message = format!("{}: {error}", file.display());
        Failure::new(Exit::Configuration, message, "Delete it to have a new one made, or put it right.")
    })?;
    Ok(IdentityKey { seed: seed.to_owned(), public_key, ..fresh })
}

/// A file for its owner alone, there as a whole or not at all; refused when there is one.
fn create(directory: &Path, file: &Path, text: &str) -> Result<(), Failure> {
    written(directory, text)
        .and_then(|new| new.persist_noclobber(file).map_err(|error| error.error))
        .map(drop)
        .map_err(|error| Failure::file(file, &error))
}

/// A file that everybody may read, in place of the one that is there.
fn replace(directory: &Path, file: &Path, text: &str) -> Result<(), Failure> {
    written(directory, text)
        .and_then(|new| {
            new.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
            new.persist(file).map_err(|error| error.error)
        })
        .map(drop)
        .map_err(|error| Failure::file(file, &error))
}

/// On disk under a name of its own, with mode 0600.
fn written(directory: &Path, text: &str) -> std::io::Result<NamedTempFile> {
    let mut new = NamedTempFile::new_in(directory)?;
    new.write_all(text.as_bytes())?;
    new.as_file().sync_all()?;
    Ok(new)
}

fn show(seeds: &[Seed], public_keys: &Path, permissions: &Path, output: &Output) {
    if output.is_json() {
        let keys: Vec<Value> = seeds
            .iter()
            .map(|seed| {
                json!({
                    "identity": seed.key.identity.name(),
                    "seed_file": seed.file,
                    "public_key": seed.key.public_key,
                    "created": seed.created,
                })
            })
            .collect();
        output.json(&json!({ "keys": keys, "public_keys": public_keys, "permissions": permissions }));
        return;
    }
    let rows: Vec<[Cell; 3]> = seeds
        .iter()
        .map(|seed| {
            [
                seed.key.identity.name().into(),
                if seed.created { "made" } else { "kept" }.into(),
                seed.file.display().to_string().into(),
            ]
        })
        .collect();
    output.table(["IDENTITY", "SEED", "FILE"], &rows);
    output.remark(format!(
        "For nats-server: {} in its environment, {} in its configuration. docs/kubernetes.md",
        public_keys.display(),
        permissions.display()
    ));
}
