//! What an effect says on its way: decided and stored before it goes on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_decider::{Context, Decider, Due, Recorded, Refusal};
use millrace_events::v1::{
    ExecutionCompleted, ModelCallRecord, ModelCalled, TaskRef, TimerFired, WorkOrderIssued,
};
use millrace_events::{
    CONTENT_TYPE_PROTOBUF, Code, DispatcherEvent, Envelope, Event, Key, Log, Service, WorkerEvent,
};
use millrace_runtime::bootstrap::{Declared, Installation};
use millrace_runtime::broker::{Append, Broker};
use millrace_runtime::clock::System;
use millrace_runtime::host::{EffectContext, Fault, Host, HostOptions, Hosted, Incoming, Received, Reports};
use millrace_runtime::memory::MemoryBroker;
use tokio_util::sync::CancellationToken;

const TASK: &str = "VTID-00001";
const BOUND: Duration = Duration::from_secs(60);

enum Input {
    Issued,
    Called(String),
    Done,
}

#[derive(Clone, Default)]
struct State {
    calls: u32,
    done: bool,
}

struct Caller;

fn task() -> Option<TaskRef> {
    Some(TaskRef { task: TASK.to_owned(), run: 1, attempt: 1, ..TaskRef::default() })
}

impl Decider for Caller {
    type State = State;
    type Input = Input;
    type Event = WorkerEvent;
    type Effect = ();
    type Alarm = TimerFired;

    fn decide(&self, state: &State, input: &Input, _: &Context) -> Result<Option<WorkerEvent>, Refusal> {
        Ok(match input {
            Input::Issued => None,
            Input::Called(model) => {
                let call = ModelCallRecord { model: model.clone(), ..ModelCallRecord::default() };
                Some(ModelCalled { task: task(), call: Some(call) }.into())
            }
            Input::Done if state.done => None,
            Input::Done => Some(ExecutionCompleted { task: task(), ..Default::default() }.into()),
        })
    }

    fn evolve(&self, state: &mut State, event: &Recorded<'_, WorkerEvent>) {
        match event.event {
            WorkerEvent::ModelCalled(_) => state.calls += 1,
            _ => state.done = true,
        }
    }

    /// A report makes the effect due again, which must not start it a second time.
    fn due(&self, state: &State, _: &Input) -> Vec<Due<(), TimerFired>> {
        if state.done { Vec::new() } else { vec![Due::Effect(())] }
    }
}

struct Calling {
    broker: Arc<dyn Broker>,
}

#[async_trait]
impl Hosted for Calling {
    type Decider = Caller;
    const SERVICE: Service = Service::Worker;

    fn decider(&self) -> &Caller {
        &Caller
    }

    fn accept(&self, received: &Received) -> Option<Input> {
        let issued = Event::name(match &received.incoming {
            Incoming::Event(event) => event,
            Incoming::Timer(_) => return None,
        });
        (issued == "WorkOrderIssued").then_some(Input::Issued)
    }

    fn key(&self, _: &Input) -> Key {
        Key::new(TASK).unwrap()
    }

    async fn perform(&self, (): &(), _: &EffectContext) -> Result<Option<Input>, Fault> {
        unreachable!("the host asks for the one that reports")
    }

    async fn perform_reporting(
        &self,
        (): &(),
        context: &EffectContext,
        reports: Reports<Input>,
    ) -> Result<Option<Input>, Fault> {
        for number in 1..=3 {
            reports.report(Input::Called(format!("{}.{number}", context.attempt))).await.unwrap();
            let stored = told(self.broker.as_ref()).await;
            let last = format!("ModelCalled {}.{number}", context.attempt);
            assert_eq!(stored.last().unwrap().1, last, "stored before the effect goes on");
        }
        if context.attempt == 1 {
            return Err(Fault::transient(Code::ModelUnavailable, "not now"));
        }
        Ok(Some(Input::Done))
    }
}

/// Ids and names of what the worker's log holds.
async fn told(broker: &dyn Broker) -> Vec<(String, String)> {
    let stored = broker.read(&Log::Worker.stream(0), None, 1, 100).await.unwrap();
    let event = |envelope: &Envelope| match envelope.event().unwrap().unwrap() {
        Event::Worker(WorkerEvent::ModelCalled(event)) => {
            format!("ModelCalled {}", event.call.unwrap().model)
        }
        event => event.name().to_owned(),
    };
    let envelopes = stored.iter().map(|stored| Envelope::decode(&stored.payload).unwrap());
    envelopes.map(|envelope| (envelope.id.clone(), event(&envelope))).collect()
}

#[tokio::test]
async fn what_an_effect_reports_is_stored_in_order_before_it_goes_on() {
    let clock = Arc::new(System);
    let broker: Arc<dyn Broker> =
        Arc::new(MemoryBroker::new(clock.clone(), &Declared::of(&Installation::default())));
    let key = Key::new(TASK).unwrap();
    let issued: DispatcherEvent = WorkOrderIssued { task: task(), ..Default::default() }.into();
    let issued = Event::Dispatcher(issued);
    let envelope =
        Envelope::new("one", "/test", key.clone(), millrace_decider::Timestamp::from_millis(1), &issued);
    let append = Append::new(Log::Dispatcher.stream(0), Log::Dispatcher.subject(&key, 1), envelope.encode());
    let _stored = broker.append(&append.content_type(CONTENT_TYPE_PROTOBUF)).await.unwrap();

    let stop = CancellationToken::new();
    let options = HostOptions { effect_backoff: Duration::from_millis(1), ..HostOptions::default() };
    let service = Calling { broker: broker.clone() };
    let host = Host::new(service, broker.clone(), clock, options, stop.clone());
    let watch = async {
        let ended = async {
            while told(broker.as_ref()).await.last().is_none_or(|(_, name)| name != "ExecutionCompleted") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(BOUND, ended).await.unwrap();
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(host.run(), watch);
    ended.unwrap();

    let told = told(broker.as_ref()).await;
    let names: Vec<&str> = told.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "ModelCalled 1.1",
            "ModelCalled 1.2",
            "ModelCalled 1.3",
            "ModelCalled 2.1",
            "ModelCalled 2.2",
            "ModelCalled 2.3",
            "ExecutionCompleted"
        ]
    );
    let ids: BTreeSet<&str> = told.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids.len(), told.len(), "each event has an id of its own");
}
