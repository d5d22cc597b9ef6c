//! The scripted services as processes.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use millrace_e2e::Cluster;

/// A running `scripted <service>`; killed when it is dropped.
#[derive(Debug)]
pub struct Scripted(Child);

impl Scripted {
    /// Starts a service of the cluster with scripted surroundings. `binary`: the built `scripted`.
    #[must_use]
    pub fn start(binary: &Path, cluster: &Cluster, service: &str) -> Self {
        let log = File::create(cluster.path(&format!("{service}.log"))).unwrap();
        let child = Command::new(binary)
            .arg(service)
            .arg(cluster.path("millrace.toml"))
            .env("MILLRACE_NATS_SEED_FILE", cluster.seed_file(service))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _ended = self.0.wait();
    }
}
