//! A server with every identity of the catalogue and nobody else, bootstrapped.

use std::time::Duration;

use millrace_runtime::bootstrap::{Declared, Installation, OnDifference, bootstrap};
use millrace_runtime::nats::{ConnectOptions, NatsBroker};
use millrace_runtime::permissions::{Identity, IdentityKey, generate_keys, nats_config};
use millrace_testkit::NatsServer;

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
