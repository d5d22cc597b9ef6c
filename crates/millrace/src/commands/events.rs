//! `events tail`: any log as JSON, straight from its stream.

use std::time::Duration;

use millrace_events::{Envelope, Log};
use millrace_runtime::broker::{Broker, Stored};
use millrace_runtime::permissions::Identity;
use serde_json::{Value, json};

use crate::cli::Tail;
use crate::connection::{nats, settings};
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Events read at once.
const BATCH: usize = 256;
/// How often the end of a log is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Shown of each log when no start was named.
const LAST: u64 = 10;

/// Prints events until the end, or for ever.
pub(super) async fn tail(arguments: &Tail, output: &Output) -> Result<Exit, Failure> {
    let logs = match &arguments.log {
        None => Log::ALL.to_vec(),
        Some(name) => vec![Log::from_name(name).ok_or_else(|| {
            let names: Vec<&str> = Log::ALL.iter().map(|log| log.name()).collect();
            Failure::usage(format!("`{name}` is not a log; there are {}", names.join(", ")))
        })?],
    };
    let settings = settings(&arguments.nats, Identity::Auditor)?;
    let broker = nats(&settings, Identity::Auditor).await?;
    let mut places = Vec::new();
    for log in logs {
        for partition in 0..settings.nats.partitions {
            let stream = log.stream(partition);
            let last = broker.stream_state(&stream).await.map_err(unreadable)?.last;
            places.push((stream, arguments.from.unwrap_or_else(|| last.saturating_sub(LAST) + 1).max(1)));
        }
    }
    loop {
        let mut printed = 0;
        for (stream, next) in &mut places {
            let end = broker.stream_state(stream).await.map_err(unreadable)?.last;
            while *next <= end {
                let batch = broker.read(stream, None, *next, BATCH).await.map_err(unreadable)?;
                let Some(last) = batch.last() else { break };
                *next = last.sequence + 1;
                batch.iter().for_each(|stored| output.json(&shown(stored)));
                printed += batch.len();
            }
        }
        if arguments.no_follow {
            return Ok(Exit::Ok);
        }
        if printed == 0 {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return Ok(Exit::Ok),
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }
}

/// The event with its place; of bytes that are no event the place and the reason.
fn shown(stored: &Stored) -> Value {
    let mut shown = match Envelope::decode(&stored.payload) {
        Ok(envelope) => envelope.to_json(),
        Err(error) => match serde_json::from_slice::<Value>(&stored.payload) {
            Ok(json) if json.is_object() => json,
            _ => json!({ "unreadable": error.to_string(), "bytes": stored.payload.len() }),
        },
    };
    if let Some(object) = shown.as_object_mut() {
        object.insert("stream".to_owned(), json!(stored.stream));
        object.insert("sequence".to_owned(), json!(stored.sequence));
    }
    shown
}

fn unreadable(error: millrace_runtime::broker::BrokerError) -> Failure {
    let advice =
        "The identity `auditor` may read every log; check --seed-file and that the bootstrap has run.";
    Failure::new(Exit::Unreachable, error.to_string(), advice)
}
