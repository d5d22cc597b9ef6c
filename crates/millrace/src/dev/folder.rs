//! The folder of a development server: what it keeps, and who uses it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use millrace_runtime::permissions::{Identity, IdentityKey};
use millrace_runtime::settings::Settings;
use rustix::fs::{FlockOperation, flock};

use crate::commands::keys::seeds;

/// The file that says where a running development server answers.
pub(crate) const ANNOUNCEMENT: &str = "dev.json";

/// An opened folder. Its lock goes with the process, however that ends.
pub(crate) struct Folder {
    root: PathBuf,
    _lock: fs::File,
}

impl Folder {
    /// Makes it where it is missing, and takes its lock.
    pub(crate) fn open(root: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("cannot make the folder {}", root.display()))?;
        let root = root.canonicalize()?;
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755))?;
        let lock = fs::OpenOptions::new().create(true).truncate(false).write(true).open(root.join("lock"))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!("another `millrace dev` runs in {}", root.display());
        }
        Ok(Self { root, _lock: lock })
    }

    /// A path inside.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Where the nats-server writes its log.
    pub(crate) fn nats_log(&self) -> PathBuf {
        self.path("nats-server.log")
    }

    /// The keys of all identities, made at the first start. Only their owner may read them.
    pub(crate) fn keys(&self) -> anyhow::Result<Vec<IdentityKey>> {
        let folder = self.path("keys");
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        Ok(seeds(&folder)?.into_iter().map(|seed| seed.key).collect())
    }

    /// Says where this server answers, for the other commands of the command line.
    pub(crate) fn announce(&self, settings: &Settings, keys: &[IdentityKey]) -> anyhow::Result<()> {
        let folder = self.path("keys");
        let seeds: serde_json::Map<String, serde_json::Value> = keys
            .iter()
            .map(|key| {
                (key.identity.name().to_owned(), key_file(&folder, key.identity).display().to_string().into())
            })
            .collect();
        let announcement = serde_json::json!({
            "grpc": format!("http://{}", settings.query_listen),
            "nats_url": settings.nats.url,
            "ledger": settings.database_url,
            "seeds": seeds,
            "pid": std::process::id(),
        });
        let temporary = self.path("dev.json.new");
        fs::write(&temporary, serde_json::to_vec_pretty(&announcement)?)?;
        Ok(fs::rename(temporary, self.path(ANNOUNCEMENT))?)
    }

    /// Takes that back.
    pub(crate) fn forget(&self) -> anyhow::Result<()> {
        match fs::remove_file(self.path(ANNOUNCEMENT)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn key_file(folder: &Path, identity: Identity) -> PathBuf {
    folder.join(format!("{}.seed", identity.name()))
}
