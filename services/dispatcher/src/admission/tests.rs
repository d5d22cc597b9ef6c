//! Two dispatchers side by side, step by step: what one does while the other is not looking.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use millrace_events::catalogue::{HEALTH_BUCKET, QUEUE_BUCKET, SLOT_BUCKET};
use millrace_events::v1::*;
use millrace_events::{CONTENT_TYPE_PROTOBUF, Envelope, Event, Key};
use millrace_runtime::bootstrap::{Declared, Installation};
use millrace_runtime::broker::Append;
use millrace_runtime::bucket::Bucket;
use millrace_runtime::kv::{self, Change};
use millrace_runtime::memory::{ManualClock, MemoryBroker};

use super::*;

const TASK: &str = "VTID-00001";
const DAY: Duration = Duration::from_secs(24 * 3600);

struct Site {
    clock: Arc<ManualClock>,
    broker: Arc<dyn Broker>,
}

impl Site {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_790_000_000_000)));
        let broker = MemoryBroker::new(clock.clone(), &Declared::of(&Installation::default()));
        Self { clock, broker: Arc::new(broker) }
    }

    fn bucket(&self, name: &str) -> Arc<dyn Kv> {
        Arc::new(Bucket::new(self.broker.clone(), name))
    }

    async fn dispatcher(&self) -> Admission {
        self.dispatcher_with(self.bucket(QUEUE_BUCKET)).await
    }

    async fn dispatcher_with(&self, queue: Arc<dyn Kv>) -> Admission {
        let rules = Rules {
            open_offers: 1_000,
            waiting: 1_000,
            aging: DAY,
            acknowledge: DAY,
            repositories: BTreeMap::new(),
            domains: BTreeMap::new(),
            partitions: 1,
        };
        let world = World {
            broker: self.broker.clone(),
            queue,
            slots: self.bucket(SLOT_BUCKET),
            heartbeats: self.bucket(HEALTH_BUCKET),
            clock: self.clock.clone(),
        };
        let admission = Admission::new(rules, world);
        admission.start().await.unwrap();
        admission
    }

    async fn say(&self, key: &str, event: impl Into<Event>) {
        let event = event.into();
        let key = Key::new(key).unwrap();
        let log = event.log();
        let envelope = Envelope::new("id", "/test", key.clone(), self.clock.now(), &event);
        let append = Append::new(log.stream(0), log.subject(&key, 1), envelope.encode());
        let _ = self.broker.append(&append.content_type(CONTENT_TYPE_PROTOBUF)).await.unwrap();
    }

    /// The run waits, by the log.
    async fn is_pending(&self, run: u32) {
        self.say(TASK, TaskScheduled { task: task(TASK, run), ..Default::default() }).await;
    }

    /// The run that has the place of the task.
    async fn stored(&self) -> Option<u32> {
        let entry = self.bucket(QUEUE_BUCKET).get(TASK).await.unwrap();
        entry.map(|entry| serde_json::from_slice::<Entry>(&entry.value).unwrap().run)
    }

    /// The run that has the place of the task, by the bucket, for a dispatcher that looks, and after a restart.
    async fn place(&self, dispatcher: &Admission) -> [Option<u32>; 3] {
        dispatcher.look_around().await;
        let restarted = self.dispatcher().await;
        [self.stored().await, waits(dispatcher), waits(&restarted)]
    }

    async fn pass(&self, dispatcher: &Admission, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            dispatcher.look_around().await;
        }
    }
}

fn task(id: &str, run: u32) -> Option<TaskRef> {
    Some(TaskRef { task: id.into(), run, ..Default::default() })
}

fn waits(dispatcher: &Admission) -> Option<u32> {
    dispatcher.lock().choice.queue.run_of(TASK)
}

fn open(dispatcher: &Admission) -> usize {
    dispatcher.lock().choice.offers.len()
}

fn candidate(run: u32) -> Candidate {
    Candidate {
        task: TASK.into(),
        run,
        repository: "shop".into(),
        domain: String::new(),
        priority: Priority::Normal,
        since: Some(Timestamp::from_millis(1_790_000_000_000)),
        chosen: false,
    }
}

/// A bucket in which something happens between the look at an entry and its change.
struct Meddled {
    bucket: Arc<dyn Kv>,
    meddler: Admission,
    run: u32,
    done: AtomicBool,
}

#[async_trait]
impl Kv for Meddled {
    async fn get(&self, key: &str) -> Result<Option<kv::Entry>, BrokerError> {
        let entry = self.bucket.get(key).await?;
        if !self.done.swap(true, Ordering::SeqCst) {
            self.meddler.dequeue(key, self.run - 1).await?;
            self.meddler.enqueue(&candidate(self.run)).await?;
        }
        Ok(entry)
    }
    async fn create(&self, key: &str, value: &[u8]) -> Result<Option<u64>, BrokerError> {
        self.bucket.create(key, value).await
    }
    async fn update(&self, key: &str, value: &[u8], revision: u64) -> Result<Option<u64>, BrokerError> {
        self.bucket.update(key, value, revision).await
    }
    async fn put(&self, key: &str, value: &[u8]) -> Result<u64, BrokerError> {
        self.bucket.put(key, value).await
    }
    async fn delete(&self, key: &str) -> Result<(), BrokerError> {
        self.bucket.delete(key).await
    }
    async fn delete_at(&self, key: &str, revision: u64, keep: Duration) -> Result<bool, BrokerError> {
        self.bucket.delete_at(key, revision, keep).await
    }
    async fn changes(&self, revision: u64, limit: usize) -> Result<Vec<Change>, BrokerError> {
        self.bucket.changes(revision, limit).await
    }
    async fn entries(&self) -> Result<Vec<(String, kv::Entry)>, BrokerError> {
        self.bucket.entries().await
    }
}

/// S4-SP5: one dispatcher handles the pause, the other the resume before it has heard of the pause.
#[tokio::test]
async fn s4_sp5_a_run_that_is_paused_by_one_and_resumed_by_another_keeps_its_place() {
    let site = Site::new();
    let (one, other) = (site.dispatcher().await, site.dispatcher().await);
    site.is_pending(1).await;
    one.enqueue(&candidate(1)).await.unwrap();
    other.look_around().await;
    assert_eq!(site.place(&one).await, [Some(1); 3]);
    site.say(TASK, TaskPaused { task: task(TASK, 1), ..Default::default() }).await;
    other.free(&candidate(1)).await.unwrap();
    assert_eq!((site.stored().await, waits(&one)), (None, Some(1)), "not heard of yet");
    site.say(TASK, TaskResumed { task: task(TASK, 1), ..Default::default() }).await;
    one.enqueue(&candidate(1)).await.unwrap();
    assert_eq!(site.place(&one).await, [Some(1); 3]);
    assert_eq!(site.place(&other).await, [Some(1); 3]);
    // What the first one does late, and again.
    other.free(&candidate(1)).await.unwrap();
    assert_eq!(site.place(&one).await, [Some(1); 3], "it has been resumed since");
    site.say(TASK, TaskPaused { task: task(TASK, 1), ..Default::default() }).await;
    other.free(&candidate(1)).await.unwrap();
    assert_eq!(site.place(&one).await, [None; 3], "and it is held when it is");
}

/// S4-SP5: what is done for a run comes late, when the next one has its place.
#[tokio::test]
async fn s4_sp5_a_late_end_of_a_run_does_not_take_the_place_of_the_next() {
    let site = Site::new();
    let (one, other) = (site.dispatcher().await, site.dispatcher().await);
    one.enqueue(&candidate(1)).await.unwrap();
    other.look_around().await;
    one.free(&candidate(1)).await.unwrap();
    site.is_pending(2).await;
    one.enqueue(&candidate(2)).await.unwrap();
    other.dequeue(TASK, 1).await.unwrap();
    other.free(&candidate(1)).await.unwrap();
    other.enqueue(&candidate(1)).await.unwrap();
    assert_eq!(site.place(&one).await, [Some(2); 3]);
    assert_eq!(site.place(&other).await, [Some(2); 3]);
    // Between its look and its deletion.
    let meddler = site.dispatcher().await;
    let bucket = site.bucket(QUEUE_BUCKET);
    let queue = Arc::new(Meddled { bucket, meddler, run: 3, done: AtomicBool::new(false) });
    let slow = site.dispatcher_with(queue.clone()).await;
    slow.dequeue(TASK, 2).await.unwrap();
    assert!(queue.done.load(Ordering::SeqCst));
    assert_eq!(site.place(&one).await, [Some(3); 3]);
    one.dequeue(TASK, 3).await.unwrap();
    assert_eq!(site.place(&other).await, [None; 3]);
}

/// What is deleted leaves a marker for a day, and not one for every task that ever waited.
#[tokio::test]
async fn markers_of_the_queue_are_forgotten() {
    let site = Site::new();
    let one = site.dispatcher().await;
    one.enqueue(&candidate(1)).await.unwrap();
    one.dequeue(TASK, 1).await.unwrap();
    let bucket = site.bucket(QUEUE_BUCKET);
    assert_eq!(bucket.changes(0, 9).await.unwrap().len(), 1);
    site.clock.advance(DAY);
    assert!(bucket.changes(0, 9).await.unwrap().is_empty());
    one.enqueue(&candidate(2)).await.unwrap();
    assert_eq!(site.place(&one).await, [Some(2); 3]);
}

/// One dispatcher chooses a run, and the other is told that it is its turn.
#[tokio::test]
async fn a_run_that_another_put_on_offer_is_no_offer_of_the_one_that_chose_it() {
    let site = Site::new();
    let (one, other) = (site.dispatcher().await, site.dispatcher().await);
    site.is_pending(1).await;
    one.enqueue(&candidate(1)).await.unwrap();
    one.let_in().await;
    assert_eq!((open(&one), waits(&one)), (1, None), "chosen");
    assert_eq!(other.admit(&Candidate { chosen: true, ..candidate(1) }).await.unwrap(), Room::Now);
    other.dequeue(TASK, 1).await.unwrap();
    one.look_around().await;
    assert_eq!((open(&one), open(&other)), (0, 1));
    assert!(one.lock().choice.granted.is_empty());
}

/// What was chosen and does not come on offer is chosen again, but not when it waits no more.
#[tokio::test]
async fn what_is_chosen_in_vain_is_given_up_where_it_waits_no_more() {
    for (marker, is_over, expected) in [(false, false, Some(1)), (false, true, None), (true, false, None)] {
        let site = Site::new();
        let one = site.dispatcher().await;
        site.is_pending(1).await;
        one.enqueue(&candidate(1)).await.unwrap();
        one.let_in().await;
        if is_over {
            site.say(TASK, TaskCompleted { task: task(TASK, 1), ..Default::default() }).await;
        }
        if marker {
            // It was cut off for as long as the marker stood.
            let bucket = site.bucket(QUEUE_BUCKET);
            let revision = bucket.get(TASK).await.unwrap().unwrap().revision;
            assert!(bucket.delete_at(TASK, revision, Duration::from_secs(1)).await.unwrap());
            site.clock.advance(Duration::from_secs(2));
        }
        site.pass(&one, 32).await;
        assert_eq!((waits(&one), open(&one)), (expected, 0));
        assert_eq!(site.stored().await, expected);
    }
}

/// S4-FUND-01: another dispatcher is told of an alarm, and the clock of this one has just been put right.
#[tokio::test]
async fn an_alarm_is_read_though_the_clock_was_put_back() {
    let site = Site::new();
    let one = site.dispatcher().await;
    site.pass(&one, 1).await;
    site.clock.put_back(DAY);
    site.say("worker", LedgerRegressed { log: "worker".into(), ..Default::default() }).await;
    site.pass(&one, 1).await;
    assert!(one.lock().alarms.standing().is_some());
}

/// Offers of which others heard that they were taken, or paused, are closed in two minutes, however
/// many there are.
#[tokio::test]
async fn offers_that_others_know_of_are_closed_soon() {
    const COUNT: usize = 600;
    let site = Site::new();
    let one = site.dispatcher().await;
    for number in 0..COUNT {
        let id = format!("VTID-{number:05}");
        let order = Some(WorkOrder { task: task(&id, 1), ..Default::default() });
        site.say(&id, TaskScheduled { task: task(&id, 1), order, ..Default::default() }).await;
        match number {
            0 => {}
            1 => site.say(&id, TaskPaused { task: task(&id, 1), ..Default::default() }).await,
            _ => site.say(&id, WorkOrderAcknowledged { task: task(&id, 1), ..Default::default() }).await,
        }
        one.open_offer(&id);
    }
    site.pass(&one, 30).await;
    assert_eq!(open(&one), COUNT, "they may be heard of");
    site.pass(&one, 90).await;
    assert_eq!(open(&one), 1, "and what nobody took stays open");
}
