//! A server with every identity of the catalogue and nobody else, bootstrapped.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use millrace_runtime::bootstrap::{Declared, Installation, OnDifference, bootstrap};
use millrace_runtime::nats::{ConnectOptions, NatsBroker};
use millrace_runtime::permissions::{Identity, IdentityKey, generate_keys, nats_config};
use millrace_testkit::{NatsServer, eventually, nats, workspace_root};
use tokio::process::{Child, Command};

/// How long a test waits for what must happen.
pub(super) const BOUND: Duration = Duration::from_secs(20);

pub(super) struct Secured {
    pub(super) server: NatsServer,
    pub(super) installation: Installation,
    keys: Vec<IdentityKey>,
}

impl Secured {
    pub(super) async fn start() -> Self {
        Self::start_with("").await
    }

    /// With more server configuration.
    pub(super) async fn start_with(config: &str) -> Self {
        let keys = generate_keys().unwrap();
        let installation = Installation::default();
        let server = NatsServer::start_with(&format!("{}{config}", nats_config(&keys, &installation)));
        let secured = Self { server, installation, keys };
        let broker = secured.connect(Identity::Bootstrap).await;
        let declared = Declared::of(&secured.installation);
        bootstrap(&broker, &declared, OnDifference::Report).await.unwrap();
        secured
    }

    pub(super) fn seed(&self, identity: Identity) -> String {
        self.keys.iter().find(|key| key.identity == identity).unwrap().seed.clone()
    }

    /// With a time-out so long that a refusal cannot be taken for one.
    pub(super) async fn connect(&self, identity: Identity) -> NatsBroker {
        let options =
            ConnectOptions::new(self.server.client_url(), identity.name()).seed(self.seed(identity));
        NatsBroker::connect(ConnectOptions { request_timeout: 3 * BOUND, ..options }).await.unwrap()
    }

    /// A client without our broker around it, for what the seam does not offer.
    pub(super) async fn raw_client(&self, identity: Identity) -> async_nats::Client {
        let options = async_nats::ConnectOptions::with_nkey(self.seed(identity))
            .custom_inbox_prefix(format!("_INBOX_{identity}"));
        options.connect(self.server.client_url()).await.unwrap()
    }
}

/// A server as the manifests run it: their `nats.conf` with `auth.conf` beside it, the public keys in its
/// environment. Only addresses and paths are its own.
pub(super) struct Committed {
    pub(super) url: String,
    keys: Vec<IdentityKey>,
    _process: Child,
    _folder: tempfile::TempDir,
}

impl Committed {
    /// Nobody has connected yet.
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = generate_keys().unwrap();
        let config = Self::lay_out(folder.path());
        let process = Command::new(nats::binary())
            .arg("--config")
            .arg(config)
            .env_clear()
            .env("POD_NAME", "nats-0")
            .envs(keys.iter().map(|key| (key.identity.key_variable(), &key.public_key)))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let ports = folder.path().join(format!("nats-server_{}.ports", process.id().unwrap()));
        let url = eventually("the server listens", BOUND, async || {
            let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(&ports).ok()?).ok()?;
            Some(ports["nats"][0].as_str()?.to_owned())
        })
        .await;
        Self { url, keys, _process: process, _folder: folder }
    }

    /// Where the permissions are that the manifests mount.
    pub(super) fn permissions() -> PathBuf {
        workspace_root().join("deploy/k8s/base/auth.conf")
    }

    pub(super) async fn connect(&self, identity: Identity) -> NatsBroker {
        let seed = self.keys.iter().find(|key| key.identity == identity).unwrap().seed.clone();
        let options = ConnectOptions::new(&self.url, identity.name()).seed(seed);
        NatsBroker::connect(ConnectOptions { request_timeout: 3 * BOUND, ..options }).await.unwrap()
    }

    fn lay_out(folder: &Path) -> PathBuf {
        std::fs::copy(Self::permissions(), folder.join("auth.conf")).unwrap();
        let mut text = std::fs::read_to_string(Self::permissions().with_file_name("nats.conf")).unwrap();
        let own = folder.display();
        for (theirs, ours) in [
            ("listen: 0.0.0.0:4222", format!("listen: \"127.0.0.1:-1\"\nports_file_dir: \"{own}\"")),
            ("http: 0.0.0.0:8222", "http: \"127.0.0.1:-1\"".to_owned()),
            ("pid_file: /tmp/", format!("pid_file: {own}/")),
            ("store_dir: /data", format!("store_dir: {own}/data")),
        ] {
            assert_eq!(text.matches(theirs).count(), 1, "nats.conf no longer has `{theirs}`");
            text = text.replace(theirs, &ours);
        }
        let config = folder.join("nats.conf");
        std::fs::write(&config, text).unwrap();
        config
    }
}
