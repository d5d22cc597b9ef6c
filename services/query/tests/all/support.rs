//! Scripted ports, and a server on a port of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_decider::Timestamp;
use millrace_events::{Envelope, Log};
use millrace_query::ports::{
    Changes, LedgerReader, LetterFilter, Logs, Page, PageRequest, PortError, Texts, Verifier,
};
use millrace_query::{LedgerQueryService, OperatorService, QueryConfig};
use millrace_rpc::client::{self, LedgerQueryClient, OperatorClient};
use millrace_rpc::server::Stopped;
use millrace_rpc::{HealthHandle, ServeError, serve, v1};
use millrace_runtime::memory::{ManualClock, SeededIds};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What the stand-ins hold. Events are rows; the row number is the index from 1.
#[derive(Default, Clone)]
pub(crate) struct World {
    pub(crate) down: bool,
    pub(crate) tasks: BTreeMap<String, v1::Task>,
    pub(crate) rows: Vec<(String, v1::HistoryEvent)>,
    pub(crate) submissions: BTreeMap<String, Vec<v1::HistoryEvent>>,
    pub(crate) published: Vec<(Log, Envelope)>,
    pub(crate) broken_chain: bool,
}

/// One value behind all ports.
pub(crate) struct Script {
    pub(crate) world: watch::Sender<World>,
}

impl Script {
    pub(crate) fn change(&self, change: impl FnOnce(&mut World)) {
        self.world.send_modify(change);
    }

    fn up(&self) -> Result<World, PortError> {
        let world = self.world.borrow().clone();
        if world.down { Err(PortError::unavailable("reading", "it is down")) } else { Ok(world) }
    }
}

/// An event of the history.
pub(crate) fn event(log: Log, sequence: u64, name: &str, run: u32) -> v1::HistoryEvent {
    v1::HistoryEvent {
        log: log.name().to_owned(),
        position: Some(v1::Position { stream: log.stream(0), sequence }),
        name: name.to_owned(),
        r#type: format!("millrace.{}.v1.{name}", log.name()),
        data: "{}".to_owned(),
        run,
        ..v1::HistoryEvent::default()
    }
}

impl World {
    /// Applies an event about a task and what it makes of the task.
    pub(crate) fn apply(&mut self, task: &str, status: v1::TaskStatus, event: v1::HistoryEvent) {
        let known = self.tasks.entry(task.to_owned()).or_default();
        known.id = task.to_owned();
        known.repository = "shop".to_owned();
        known.run = event.run;
        known.set_status(status);
        self.rows.push((task.to_owned(), event));
    }
}

fn one_page<T>(items: Vec<T>) -> Page<T> {
    Page { items, next: None }
}

#[async_trait]
impl LedgerReader for Script {
    async fn task(&self, id: &str) -> Result<Option<v1::Task>, PortError> {
        Ok(self.up()?.tasks.get(id).cloned())
    }

    async fn tasks(&self, filter: &v1::TaskFilter, page: &PageRequest) -> Result<Page<v1::Task>, PortError> {
        let world = self.up()?;
        let skip = match &page.token {
            None => 0,
            Some(token) => token.parse::<usize>().map_err(|_| PortError::PageToken)?,
        };
        let fits = |task: &&v1::Task| filter.status == 0 || filter.status == task.status;
        let size = page.size as usize;
        let mut items: Vec<v1::Task> =
            world.tasks.values().filter(fits).skip(skip).take(size + 1).cloned().collect();
        let more = items.len() > size;
        items.truncate(size);
        Ok(Page { items, next: more.then(|| (skip + size).to_string()) })
    }

    async fn history(&self, key: &str) -> Result<Vec<v1::HistoryEvent>, PortError> {
        let world = self.up()?;
        Ok(world.rows.iter().filter(|(task, _)| task == key).map(|(_, event)| event.clone()).collect())
    }

    async fn submission(&self, key: &str) -> Result<Vec<v1::HistoryEvent>, PortError> {
        Ok(self.up()?.submissions.get(key).cloned().unwrap_or_default())
    }

    async fn answered_before(&self, _: &str) -> Result<Vec<v1::HistoryEvent>, PortError> {
        self.up().map(|_| Vec::new())
    }

    async fn spec(&self, task: &str, version: u32) -> Result<Option<v1::Spec>, PortError> {
        let world = self.up()?;
        let known = world.tasks.get(task).filter(|_| version < 2);
        Ok(known.map(|task| v1::Spec { task: task.id.clone(), version: 1, ..v1::Spec::default() }))
    }

    async fn work_orders(&self, _: Option<&str>, _: &PageRequest) -> Result<Page<v1::WorkOrder>, PortError> {
        self.up().map(|_| one_page(Vec::new()))
    }

    async fn failures(
        &self,
        _: Option<&str>,
        _: Option<&str>,
        _: &PageRequest,
    ) -> Result<Page<v1::TaskFailure>, PortError> {
        self.up().map(|_| one_page(Vec::new()))
    }

    async fn insights(&self, _: &PageRequest) -> Result<Page<v1::Insight>, PortError> {
        self.up().map(|_| one_page(Vec::new()))
    }

    async fn dead_letters(
        &self,
        _: &LetterFilter,
        _: &PageRequest,
    ) -> Result<Page<v1::DeadLetter>, PortError> {
        self.up().map(|_| one_page(Vec::new()))
    }

    async fn dead_letter(
        &self,
        _: &v1::Position,
    ) -> Result<(Vec<v1::DeadLetter>, Option<v1::LogMessage>), PortError> {
        self.up().map(|_| (vec![v1::DeadLetter::default()], None))
    }

    async fn counts(&self) -> Result<BTreeMap<String, u64>, PortError> {
        Ok(BTreeMap::from([("active".to_owned(), self.up()?.tasks.len() as u64)]))
    }

    async fn applied(&self) -> Result<BTreeMap<String, u64>, PortError> {
        let positions = self.up()?.rows.into_iter().filter_map(|(_, event)| event.position);
        Ok(positions.map(|position| (position.stream, position.sequence)).collect())
    }

    async fn wait_for(&self, stream: &str, sequence: u64, bound: Duration) -> Result<bool, PortError> {
        self.up()?;
        let mut world = self.world.subscribe();
        let there = world.wait_for(|world| {
            let mut positions = world.rows.iter().filter_map(|(_, event)| event.position.as_ref());
            positions.any(|position| position.stream == stream && position.sequence >= sequence)
        });
        Ok(tokio::time::timeout(bound, there).await.is_ok())
    }

    async fn changes(&self, after: Option<u64>) -> Result<Changes, PortError> {
        let rows = self.up()?.rows;
        let after = after.map_or(rows.len(), |row| row as usize);
        let tasks = rows.iter().skip(after).map(|(task, _)| task.clone()).collect();
        Ok(Changes { tasks, row: rows.len() as u64 })
    }
}

#[async_trait]
impl Logs for Script {
    async fn publish(&self, log: Log, envelope: &Envelope) -> Result<v1::Published, PortError> {
        self.up()?;
        let known = self.world.borrow().published.iter().position(|(_, known)| known.id == envelope.id);
        if known.is_none() {
            self.change(|world| world.published.push((log, envelope.clone())));
        }
        let index = known.unwrap_or(self.world.borrow().published.len() - 1);
        Ok(v1::Published {
            key: envelope.key.to_string(),
            position: Some(v1::Position { stream: log.stream(0), sequence: index as u64 + 1 }),
            event_id: envelope.id.clone(),
            duplicate: known.is_some(),
        })
    }

    async fn heads(&self) -> Result<BTreeMap<String, (Log, u64)>, PortError> {
        self.up().map(|_| BTreeMap::new())
    }

    async fn alarms(&self) -> Result<Vec<v1::LogAlarm>, PortError> {
        self.up().map(|_| Vec::new())
    }

    async fn heartbeats(&self, _now: Timestamp) -> Result<Vec<v1::ServiceHealth>, PortError> {
        self.up().map(|_| Vec::new())
    }
}

#[async_trait]
impl Texts for Script {
    async fn text(&self, _: &str) -> Result<Option<Vec<u8>>, PortError> {
        self.up().map(|_| Some(b"# A".to_vec()))
    }
}

#[async_trait]
impl Verifier for Script {
    async fn verify(&self) -> Result<Vec<v1::LogVerdict>, PortError> {
        let broken = self.up()?.broken_chain;
        let stream = Log::Worker.stream(0);
        Ok(vec![v1::LogVerdict { stream, intact: !broken, ..v1::LogVerdict::default() }])
    }
}

/// A server with scripted ports behind it.
pub(crate) struct Server {
    pub(crate) script: Arc<Script>,
    pub(crate) query: LedgerQueryClient<tonic::transport::Channel>,
    pub(crate) operator: OperatorClient<tonic::transport::Channel>,
    shutdown: CancellationToken,
    tasks: JoinSet<Result<Stopped, ServeError>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let script = Arc::new(Script { world: watch::Sender::new(World::default()) });
        let config = QueryConfig {
            actor: "ada".to_owned(),
            read_wait: Duration::from_millis(300),
            watch_period: Duration::from_millis(5),
            max_watches: 2,
            ..QueryConfig::default()
        };
        let shutdown = CancellationToken::new();
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000)));
        let ids = Arc::new(SeededIds::new(1));
        let operator = OperatorService::new(script.clone(), script.clone(), clock.clone(), ids, &config);
        let (ledger, logs, texts) = (script.clone(), script.clone(), script.clone());
        let query =
            LedgerQueryService::new(ledger, logs, texts, script.clone(), clock, config, shutdown.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        let routes = millrace_query::routes(query, operator);
        let grace = Duration::from_secs(30);
        tasks.spawn(serve(listener, routes, HealthHandle::new(), shutdown.clone(), grace));
        let channel = client::connect(&address).await.unwrap();
        Self {
            script,
            query: LedgerQueryClient::new(channel.clone()),
            operator: OperatorClient::new(channel),
            shutdown,
            tasks,
        }
    }

    /// Stops it and says how it came to its end.
    pub(crate) async fn stop(mut self) -> Stopped {
        self.shutdown.cancel();
        drop((self.query, self.operator));
        self.tasks.join_next().await.unwrap().unwrap().unwrap()
    }
}
