//! The services' processes: started, killed, paused, started again.

use std::net::SocketAddr;
use std::time::Duration;

use millrace_events::Service;
use millrace_testkit::eventually;

use super::Cluster;
use crate::process::Process;

impl Cluster {
    /// Names of all processes: one per service, two for the worker.
    pub fn names() -> Vec<String> {
        let services = Service::ALL.iter().map(|service| service.name()).filter(|name| *name != "worker");
        services.map(str::to_owned).chain(["worker-1".to_owned(), "worker-2".to_owned()]).collect()
    }

    /// Starts every process and waits until each has connected.
    pub async fn start_all(&mut self) {
        for name in Self::names() {
            self.start_process(&name);
        }
        for name in Self::names() {
            self.wait_until_running(&name).await;
        }
    }

    /// Waits until a process has connected that was never started before.
    pub async fn wait_until_running(&self, name: &str) {
        eventually(name, Duration::from_secs(30), async || self.log_of(name).contains("running")).await;
    }

    /// What a process has written to its log.
    pub fn log_of(&self, name: &str) -> String {
        let bytes = std::fs::read(self.path(&format!("{name}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Starts a process that is not running.
    pub fn start_process(&mut self, name: &str) {
        self.start_process_with(name, &[]);
    }

    /// The same with more environment variables.
    pub fn start_process_with(&mut self, name: &str, more: &[(&str, &str)]) {
        let service = if name.starts_with("worker") { "worker" } else { name };
        let mut variables = vec![
            ("MILLRACE_NATS_SEED_FILE".to_owned(), self.seed_file(service).display().to_string()),
            ("MILLRACE_DATABASE_URL".to_owned(), self.database_url()),
            ("MILLRACE_QUERY_LISTEN".to_owned(), self.query.to_string()),
            ("MILLRACE_WORKER_ID".to_owned(), name.to_owned()),
            ("MILLRACE_WORKER_DIRECTORY".to_owned(), self.path(name).display().to_string()),
            ("MILLRACE_DEPLOYER_DIRECTORY".to_owned(), self.path("deployer").display().to_string()),
            ("MILLRACE_SPEC_REGISTRY_DIRECTORY".to_owned(), self.path("registry").display().to_string()),
        ];
        if let Some(address) = self.health.get(name) {
            variables.push(("MILLRACE_HEALTH_LISTEN".to_owned(), address.to_string()));
        }
        if let Some(endpoint) = &self.options.otlp_endpoint {
            variables.push(("MILLRACE_OTLP_ENDPOINT".to_owned(), endpoint.clone()));
        }
        if let Some(address) = self.detours.get(name) {
            variables.push(("MILLRACE_NATS_URL".to_owned(), format!("nats://{address}")));
        }
        variables.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let process = Process::start(
            service,
            &self.path("millrace.toml"),
            &variables,
            &self.path(&format!("{name}.log")),
        );
        assert!(self.processes.insert(name.to_owned(), process).is_none(), "{name} runs already");
    }

    /// From its next start on a process finds NATS at this address.
    pub fn detour(&mut self, name: &str, address: SocketAddr) {
        self.detours.insert(name.to_owned(), address);
    }

    /// SIGKILL.
    pub fn kill(&mut self, name: &str) {
        self.processes.remove(name).unwrap_or_else(|| panic!("{name} does not run")).kill();
    }

    /// SIGTERM; the exit code.
    pub fn stop(&mut self, name: &str) -> Option<i32> {
        self.processes.remove(name).unwrap_or_else(|| panic!("{name} does not run")).stop()
    }

    /// SIGSTOP: its connections stay open and it does nothing.
    pub fn pause(&self, name: &str) {
        self.processes[name].signal(rustix::process::Signal::STOP);
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self, name: &str) {
        self.processes[name].signal(rustix::process::Signal::CONT);
    }

    /// Process id.
    pub fn pid(&self, name: &str) -> u32 {
        self.processes[name].pid()
    }

    /// Whether it was started and has not ended by itself.
    pub fn is_up(&mut self, name: &str) -> bool {
        self.processes.get_mut(name).is_some_and(|process| process.ended().is_none())
    }

    /// Does what systemd or Kubernetes do: starts again what has ended. Which did, and their exit codes
    /// (nothing: killed).
    pub fn tend(&mut self) -> Vec<(String, Option<i32>)> {
        let mut ended = Vec::new();
        for name in Self::names() {
            match self.processes.get_mut(&name).map(Process::ended) {
                Some(None) => continue,
                Some(Some(status)) => {
                    ended.push((name.clone(), status.code()));
                    self.processes.remove(&name);
                }
                None => {}
            }
            self.start_process(&name);
        }
        ended
    }

    /// What a process answers at `/readyz`: the status code, or nothing when it does not answer.
    pub fn readiness(&self, name: &str) -> Option<u16> {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(self.health[name]).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET /readyz HTTP/1.0\r\nHost: millrace\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split(' ').nth(1)?.parse().ok()
    }
}
