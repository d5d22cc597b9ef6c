//! A target that does what a test tells it to.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use millrace_deployer::ports::{Observed, ReleaseRecord, ReleaseRequest, RolledOut, Target, TargetError};

/// How a release behaves. Healthy, and reporting its commit, where nothing is said.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Behaviour {
    /// Healthy, but reports this.
    Reports(String),
    /// Reports its commit, but is not healthy.
    Sick,
    /// Runs and answers nothing.
    Silent,
    /// The start command exits.
    Exits,
}

#[derive(Default)]
pub(crate) struct ScriptedTarget {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Option<String>,
    behaviour: BTreeMap<String, Option<Behaviour>>,
    /// For every commit that nothing else is said of.
    otherwise: Option<Behaviour>,
    calls: Vec<String>,
}

impl ScriptedTarget {
    /// What every release from now on does, but those that run already.
    pub(crate) fn next_releases(&self, behaviour: Option<Behaviour>) {
        self.state.lock().unwrap().otherwise = behaviour;
    }

    /// What a release did so far counts no more: it is as any other when it is started again.
    pub(crate) fn forget(&self, commit: &str) {
        self.state.lock().unwrap().behaviour.remove(commit);
    }

    /// Roll-outs and stops so far, as `roll out <commit>` and `stop`.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.state.lock().unwrap().calls.clone()
    }

    pub(crate) fn running(&self) -> Option<String> {
        self.state.lock().unwrap().running.clone()
    }
}

impl State {
    fn behaviour_of(&self, commit: &str) -> Option<Behaviour> {
        self.behaviour.get(commit).cloned().flatten()
    }

    fn record(&self) -> Option<ReleaseRecord> {
        let commit = self.running.clone()?;
        let address = "http://127.0.0.1:1".to_owned();
        Some(ReleaseRecord { commit, previous: None, pid: Some(1), address })
    }
}

#[async_trait]
impl Target for ScriptedTarget {
    async fn roll_out(&self, release: &ReleaseRequest) -> Result<RolledOut, TargetError> {
        let mut state = self.state.lock().unwrap();
        let commit = release.commit.clone();
        let started = state.running.as_ref() != Some(&commit);
        let previous = state.running.clone();
        if started {
            state.calls.push(format!("roll out {commit}"));
            // A release keeps the behaviour that it started with first.
            let behaviour = state.otherwise.clone();
            state.behaviour.entry(commit.clone()).or_insert(behaviour);
        }
        if state.behaviour_of(&commit) == Some(Behaviour::Exits) {
            state.running = None;
            return Err(TargetError::StartExited { commit, status: 3, log_tail: "boom".to_owned() });
        }
        state.running = Some(commit);
        Ok(RolledOut { previous, pid: 1, address: "http://127.0.0.1:1".to_owned(), started })
    }

    async fn observe(&self) -> Result<Observed, TargetError> {
        let state = self.state.lock().unwrap();
        let Some(commit) = state.running.clone() else {
            return Ok(Observed {
                running: false,
                reported_sha: None,
                healthy: false,
                detail: "nothing runs".to_owned(),
            });
        };
        let (reported_sha, healthy) = match state.behaviour_of(&commit) {
            None => (Some(commit), true),
            Some(Behaviour::Reports(sha)) => (Some(sha), true),
            Some(Behaviour::Sick) => (Some(commit), false),
            Some(Behaviour::Silent | Behaviour::Exits) => (None, false),
        };
        Ok(Observed { running: true, reported_sha, healthy, detail: "scripted".to_owned() })
    }

    async fn current(&self) -> Result<Option<ReleaseRecord>, TargetError> {
        Ok(self.state.lock().unwrap().record())
    }

    async fn stop(&self) -> Result<(), TargetError> {
        let mut state = self.state.lock().unwrap();
        state.calls.push("stop".to_owned());
        state.running = None;
        Ok(())
    }
}
