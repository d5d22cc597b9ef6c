//! What the query service and the logs say.

use std::time::Duration;

use millrace_events::Event;
use millrace_rpc::client::{self, LedgerQueryClient, OperatorClient};
use millrace_rpc::v1::{GetTaskHistoryRequest, GetTaskRequest, HistoryEvent, Task, TaskStatus};
use millrace_testkit::eventually;
use tonic::transport::Channel;

use super::Cluster;

impl Cluster {
    /// The query client, once the service answers.
    pub async fn query(&self) -> LedgerQueryClient<Channel> {
        LedgerQueryClient::new(self.channel().await)
    }

    /// The operator client, once the service answers.
    pub async fn operator(&self) -> OperatorClient<Channel> {
        OperatorClient::new(self.channel().await)
    }

    /// The operator client, if the service answers now.
    pub async fn try_operator(&self) -> Option<OperatorClient<Channel>> {
        client::connect(&self.address()).await.ok().map(OperatorClient::new)
    }

    async fn channel(&self) -> Channel {
        eventually("the query service answers", Duration::from_secs(30), async || {
            client::connect(&self.address()).await.ok()
        })
        .await
    }

    /// The task, once it is in that status.
    pub async fn wait_for(&self, task: &str, status: TaskStatus, within: Duration) -> Task {
        let mut query = self.query().await;
        let what = format!("{task} is {status:?}");
        let found = tokio::time::timeout(within, async {
            loop {
                let request = GetTaskRequest { task: task.to_owned(), ..Default::default() };
                if let Ok(answer) = query.get_task(request).await {
                    let found = answer.into_inner().task.unwrap();
                    if found.status() == status {
                        return found;
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        match found {
            Ok(found) => found,
            Err(_) => panic!("{what}: not within {within:?}\n{}", self.explain(task).await),
        }
    }

    /// Everything that the logs say about a task, causes first.
    pub async fn history(&self, task: &str) -> Vec<HistoryEvent> {
        let request = GetTaskHistoryRequest { task: task.to_owned(), ..Default::default() };
        self.query().await.get_task_history(request).await.unwrap().into_inner().events
    }

    /// Names of a task's events, causes first.
    pub async fn event_names(&self, task: &str) -> Vec<String> {
        self.history(task).await.into_iter().map(|event| event.name).collect()
    }

    /// Waits until an event of that name stands in the task's history.
    pub async fn wait_for_event(&self, task: &str, name: &str, within: Duration) -> HistoryEvent {
        let found = tokio::time::timeout(within, async {
            loop {
                let request = GetTaskHistoryRequest { task: task.to_owned(), ..Default::default() };
                let answer = self.query().await.get_task_history(request).await;
                let events = answer.map(|answer| answer.into_inner().events).unwrap_or_default();
                if let Some(found) = events.into_iter().find(|event| event.name == name) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        match found {
            Ok(found) => found,
            Err(_) => panic!("no {name} of {task} within {within:?}\n{}", self.explain(task).await),
        }
    }

    /// Data of an event as JSON.
    pub fn data(event: &HistoryEvent) -> serde_json::Value {
        serde_json::from_str(&event.data).unwrap_or_default()
    }

    /// The one terminal event of each run, checked: none has two.
    pub async fn terminal_events(&self, task: &str) -> Vec<HistoryEvent> {
        let terminal = ["TaskCompleted", "TaskFailed", "TaskBlocked", "TaskCancelled"];
        let events: Vec<HistoryEvent> = self
            .history(task)
            .await
            .into_iter()
            .filter(|event| terminal.contains(&event.name.as_str()))
            .collect();
        let mut runs: Vec<u32> = events.iter().map(|event| event.run).collect();
        runs.sort_unstable();
        runs.dedup();
        assert_eq!(runs.len(), events.len(), "a run of {task} has two ends: {events:?}");
        events
    }

    /// All events of a log that this version knows, in order.
    pub async fn log(&self, log: millrace_events::Log) -> Vec<Event> {
        let auditor = self.auditor().await;
        let stored = auditor.read(&log.stream(0), None, 1, 10_000).await.unwrap();
        stored
            .iter()
            .map(|stored| {
                millrace_events::Envelope::decode(&stored.payload).unwrap().event().unwrap().unwrap()
            })
            .collect()
    }

    /// What is known about a task, for a failing test.
    pub async fn explain(&self, task: &str) -> String {
        let request = GetTaskHistoryRequest { task: task.to_owned(), ..Default::default() };
        let mut text = match client::connect(&self.address()).await {
            Ok(channel) => match LedgerQueryClient::new(channel).get_task_history(request).await {
                Ok(answer) => {
                    let lines = answer
                        .into_inner()
                        .events
                        .into_iter()
                        .map(|event| format!("  {} {}", event.name, event.data));
                    lines.collect::<Vec<_>>().join("\n")
                }
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        text.push_str(&self.logs_of_all(8));
        text
    }

    /// The last lines of every process, for a failing test.
    pub fn logs_of_all(&self, lines: usize) -> String {
        let mut text = String::new();
        for name in Self::names() {
            let log = self.log_of(&name);
            let all: Vec<&str> = log.lines().collect();
            let last = &all[all.len().saturating_sub(lines)..];
            text.push_str(&format!("\n--- {name}\n{}", last.join("\n")));
        }
        text
    }
}
