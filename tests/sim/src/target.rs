//! Targets in memory, and the deployer's and validator's ways to forges and targets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use millrace_deployer::ports::{
    Observed, ReleaseRecord, ReleaseRequest, RolledOut, Site, SiteError, Sites, Target, TargetError,
};
use millrace_forge::{Forge as _, State};
use millrace_validator::ports::{LookError, PullRequests, Shown};

use crate::dice::named;
use crate::forge::{BASE, Did, ForgeWorld, ScriptedForge};
use crate::gate::Gate;

const ADDRESS: &str = "http://target.invalid";

/// What runs on every target of a run.
#[derive(Default)]
pub struct TargetWorld {
    targets: Mutex<BTreeMap<String, Running>>,
}

#[derive(Default, Clone)]
struct Running {
    /// The release that was started last.
    commit: Option<String>,
    /// It still runs.
    alive: bool,
}

/// How a release behaves: the same every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    Good,
    ReportsAnother,
    Sick,
    Silent,
    Exits,
}

impl TargetWorld {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A target as one life of the deployer reaches it.
struct ScriptedTarget {
    id: String,
    targets: Arc<TargetWorld>,
    forges: Arc<ForgeWorld>,
    gate: Gate,
}

impl ScriptedTarget {
    fn behaviour(&self, commit: &str) -> Behaviour {
        let weather = self.gate.weather();
        let drawn = named(weather.seed, commit);
        if drawn % 10_000 >= u64::from(weather.profile.bad_release) {
            return Behaviour::Good;
        }
        match (drawn >> 32) % 4 {
            0 => Behaviour::ReportsAnother,
            1 => Behaviour::Sick,
            2 => Behaviour::Silent,
            _ => Behaviour::Exits,
        }
    }

    async fn work<T>(
        &self,
        what: &'static str,
        does: impl FnOnce(&mut Running) -> Result<T, TargetError> + Send,
    ) -> Result<T, TargetError> {
        let profile = &self.gate.weather().profile;
        let busy = || TargetError::Busy { target: self.id.clone() };
        self.gate.step("before the target").await;
        if self.gate.fault("target failed", profile.world_fails, || what.to_owned()) {
            return Err(busy());
        }
        let done = does(self.targets.lock().entry(self.id.clone()).or_default());
        self.gate.step("after the target").await;
        if self.gate.fault("target failed after", profile.world_fails_after, || what.to_owned()) {
            return Err(busy());
        }
        done
    }
}

#[async_trait]
impl Target for ScriptedTarget {
    async fn roll_out(&self, release: &ReleaseRequest) -> Result<RolledOut, TargetError> {
        let commit = release.commit.clone();
        let behaviour = self.behaviour(&commit);
        self.work("roll out", |running| {
            let previous = running.commit.clone();
            let started = !running.alive || previous.as_ref() != Some(&commit);
            if started {
                *running = Running { commit: Some(commit.clone()), alive: behaviour != Behaviour::Exits };
                // What exits at once may be started again: nothing runs.
                if running.alive {
                    self.forges.did(self.gate.name(), &self.id, Did::Started { commit: commit.clone() });
                }
            }
            if !running.alive {
                return Err(TargetError::StartExited { commit, status: 3, log_tail: "boom".to_owned() });
            }
            Ok(RolledOut { previous, pid: 1, address: ADDRESS.to_owned(), started })
        })
        .await
    }

    async fn observe(&self) -> Result<Observed, TargetError> {
        self.work("observe", |running| {
            let detail = "scripted".to_owned();
            let Some(commit) = running.commit.clone().filter(|_| running.alive) else {
                return Ok(Observed { running: false, reported_sha: None, healthy: false, detail });
            };
            let (reported_sha, healthy) = match self.behaviour(&commit) {
                Behaviour::Good => (Some(commit), true),
                Behaviour::ReportsAnother => (Some("0".repeat(40)), true),
                Behaviour::Sick => (Some(commit), false),
                Behaviour::Silent | Behaviour::Exits => (None, false),
            };
            Ok(Observed { running: true, reported_sha, healthy, detail })
        })
        .await
    }

    async fn current(&self) -> Result<Option<ReleaseRecord>, TargetError> {
        self.work("current", |running| {
            Ok(running.commit.clone().map(|commit| ReleaseRecord {
                commit,
                previous: None,
                pid: running.alive.then_some(1),
                address: ADDRESS.to_owned(),
            }))
        })
        .await
    }

    async fn stop(&self) -> Result<(), TargetError> {
        self.work("stop", |running| {
            running.alive = false;
            Ok(())
        })
        .await
    }
}

/// The forges and targets of a run, for one life of a process.
#[derive(Clone)]
pub struct Places {
    /// Repositories.
    pub forges: Arc<ForgeWorld>,
    /// Targets.
    pub targets: Arc<TargetWorld>,
    /// Who reaches them.
    pub gate: Gate,
}

#[async_trait]
impl Sites for Places {
    async fn repository(&self, id: &str) -> Result<Site, SiteError> {
        let forge = ScriptedForge::new(self.forges.clone(), id, self.gate.clone());
        Ok(Site { forge: Arc::new(forge), base_branch: BASE.to_owned() })
    }

    async fn target(&self, id: &str) -> Result<Arc<dyn Target>, SiteError> {
        Ok(Arc::new(ScriptedTarget {
            id: id.to_owned(),
            targets: self.targets.clone(),
            forges: self.forges.clone(),
            gate: self.gate.clone(),
        }))
    }
}

#[async_trait]
impl PullRequests for Places {
    async fn pull_request(
        &self,
        repository: &str,
        number: u64,
        _base_commit: &str,
    ) -> Result<Option<Shown>, LookError> {
        let forge = ScriptedForge::new(self.forges.clone(), repository, self.gate.clone());
        let found = forge.pull_request(number).await.map_err(|error| LookError {
            message: error.to_string(),
            is_transient: error.is_transient(),
            source: Some(error),
        })?;
        Ok(found.map(|found| Shown {
            open: found.state == State::Open,
            merged: found.state == State::Merged,
            head: found.head_sha,
            redefines_checks: false,
        }))
    }
}
