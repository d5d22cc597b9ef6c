//! Faults, one after the other, drawn from the campaign's seed.

use std::time::Duration;

use tokio::time::sleep;

use crate::campaign::Campaign;
use crate::cluster::Cluster;
use crate::proxy::{Line, Proxy};

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL to a service, which is started again.
    KillService,
    /// SIGKILL to nats-server, which is started again.
    KillBroker,
    /// SIGSTOP to nats-server for this long.
    FreezeBroker(Duration, Duration),
    /// SIGKILL to all services and nats-server at once; they are started in any order.
    KillEverything,
    /// The line between a service and NATS is slow, loses one direction or both, or is cut.
    Line,
}

impl Fault {
    /// Its name in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KillService => "kill-service",
            Self::KillBroker => "kill-broker",
            Self::FreezeBroker(..) => "freeze-broker",
            Self::KillEverything => "kill-everything",
            Self::Line => "line",
        }
    }
}

/// When how much goes wrong.
#[derive(Debug, Clone)]
pub struct Storm {
    /// What.
    pub faults: Vec<Fault>,
    /// The pause before each is at least this,
    pub shortest_pause: Duration,
    /// and at most this.
    pub longest_pause: Duration,
    /// So many faults at least; more while more than a few tasks are open,
    pub at_least: usize,
    /// but never more than this.
    pub at_most: usize,
}

impl Campaign {
    /// Puts a proxy before NATS for every process, for [`Fault::Line`]. Before they are started.
    pub async fn with_lines(&mut self) {
        for name in Cluster::names() {
            let proxy = Proxy::start(self.cluster.nats.address()).await;
            self.cluster.detour(&name, proxy.address());
            self.lines.insert(name, proxy);
        }
    }

    /// Makes the line of a process so, until it is made good again.
    pub fn line(&mut self, name: &str, line: Line) {
        if line != Line::Good {
            self.injected(Fault::Line.name());
        }
        self.lines[name].set(line);
    }

    /// Injects faults until the storm is over.
    pub async fn storm(&mut self, storm: &Storm) {
        let few = self.submitted.len() / 10;
        for number in 0..storm.at_most {
            if number >= storm.at_least && self.open().await.len() <= few {
                break;
            }
            sleep(self.dice.between(storm.shortest_pause, storm.longest_pause)).await;
            self.tend();
            let fault = *self.dice.pick(&storm.faults);
            self.inject(fault).await;
        }
        self.tend();
    }

    /// Injects one fault; when it returns, nothing is broken any more.
    pub async fn inject(&mut self, fault: Fault) {
        self.injected(fault.name());
        match fault {
            Fault::KillService => {
                let name = self.dice.pick(&Cluster::names()).clone();
                self.cluster.kill(&name);
                self.cluster.start_process(&name);
            }
            Fault::KillBroker => {
                self.cluster.nats.kill();
                self.cluster.nats.restart();
            }
            Fault::FreezeBroker(shortest, longest) => {
                let frozen_for = self.dice.between(shortest, longest);
                self.cluster.nats.pause();
                sleep(frozen_for).await;
                self.cluster.nats.resume();
            }
            Fault::KillEverything => self.kill_everything().await,
            Fault::Line => self.disturb_a_line().await,
        }
    }

    async fn kill_everything(&mut self) {
        self.cluster.nats.kill();
        for name in Cluster::names() {
            self.cluster.kill(&name);
        }
        let broker = "nats-server".to_owned();
        let mut order = Cluster::names();
        order.push(broker.clone());
        self.dice.shuffle(&mut order);
        for name in order {
            if name == broker {
                self.cluster.nats.restart();
            } else {
                self.cluster.start_process(&name);
            }
        }
    }

    async fn disturb_a_line(&mut self) {
        let names: Vec<String> = self.lines.keys().cloned().collect();
        let name = self.dice.pick(&names).clone();
        let delay = self.dice.between(Duration::from_millis(20), Duration::from_millis(300));
        let lines = [Line::Slow(delay), Line::LosesAnswers, Line::LosesRequests, Line::Silent, Line::Good];
        let line = *self.dice.pick(&lines);
        let lasting = self.dice.between(Duration::from_millis(300), Duration::from_secs(4));
        match line {
            Line::Good => self.lines[&name].cut(),
            line => {
                self.lines[&name].set(line);
                sleep(lasting).await;
                self.lines[&name].set(Line::Good);
            }
        }
    }
}
