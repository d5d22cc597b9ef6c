//! `ledger reseed`: events that a log has lost, written back from the ledger.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_events::{Envelope, Log};
use millrace_ledger::{
    Ledger, LedgerError, ReseedError, StoredEvent, StreamReader as _, Survey, append_missing, survey,
};
use millrace_projector::adapters::{BrokerReader, BrokerWriter};
use millrace_rpc::status::chain;
use millrace_runtime::bootstrap::{Declared, OnDifference, bootstrap, delete_stream};
use millrace_runtime::broker::Broker;
use millrace_runtime::clock::{Clock as _, System};
use millrace_runtime::nats::NatsBroker;
use millrace_runtime::permissions::Identity;
use millrace_runtime::settings::Settings;
use serde_json::{Value, json};

use crate::cli::{Nats, Reseed};
use crate::connection::{database, ledger, nats as connect, settings};
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone, printable};

/// Events read at a time, and between two lines of progress.
const PAGE: usize = 200;
const PROGRESS: u64 = 1_000;
/// Sequences and tasks that are named.
const SHOWN: usize = 20;

/// Compares the logs with the ledger and writes back what they lack. Exit code 1 for a dry run that found
/// something, 6 when a log holds something else than the ledger remembers and is not to be replaced.
pub(super) async fn run(arguments: &Reseed, output: &Output) -> Result<Exit, Failure> {
    let settings = settings(&arguments.nats, Identity::Restorer)?;
    let url = arguments.database.database_url.as_deref().or(settings.database_url.as_deref());
    let ledger = ledger(url).await?;
    let broker: Arc<dyn Broker> = Arc::new(connect(&settings, Identity::Restorer).await?);
    let administrator = match arguments.replace {
        true => Some(administrator(arguments).await?),
        false => None,
    };
    let command = Command {
        arguments,
        output,
        settings: &settings,
        reader: BrokerReader::new(broker.clone()),
        writer: BrokerWriter::new(broker),
        ledger,
        administrator,
    };
    let (mut shown, mut exit) = (Vec::new(), Exit::Ok);
    for stream in streams(arguments.log.as_deref(), settings.nats.partitions)? {
        let (value, one) = command.stream(&stream).await?;
        shown.push(value);
        if one != Exit::Ok && exit != Exit::Refused {
            exit = one;
        }
    }
    if output.is_json() {
        output.json(&json!({ "logs": shown }));
    } else if exit == Exit::Refused {
        output.remark(
            "Stop every service but projector and query, then run it again with the name of the log and \
             --replace: what the log holds instead is saved to a file, and the log is written anew from the \
             ledger.",
        );
    }
    Ok(exit)
}

fn streams(log: Option<&str>, partitions: u32) -> Result<Vec<String>, Failure> {
    let logs = match log {
        None => Log::ALL.to_vec(),
        Some(name) => vec![Log::from_name(name).ok_or_else(|| {
            let names: Vec<&str> = Log::ALL.iter().map(|log| log.name()).collect();
            Failure::usage(format!("`{name}` is not a log; there are {}", names.join(", ")))
        })?],
    };
    Ok(logs.into_iter().flat_map(|log| (0..partitions).map(move |one| log.stream(one))).collect())
}

/// The identity that may delete and make streams.
async fn administrator(arguments: &Reseed) -> Result<NatsBroker, Failure> {
    if arguments.nats.seed_file.is_some() && arguments.bootstrap_seed_file.is_none() {
        return Err(Failure::usage("--replace needs --bootstrap-seed-file beside --seed-file"));
    }
    let nats = Nats {
        config: arguments.nats.config.clone(),
        nats_url: arguments.nats.nats_url.clone(),
        seed_file: arguments.bootstrap_seed_file.clone(),
    };
    connect(&settings(&nats, Identity::Bootstrap)?, Identity::Bootstrap).await
}

struct Command<'a> {
    arguments: &'a Reseed,
    output: &'a Output,
    settings: &'a Settings,
    reader: BrokerReader,
    writer: BrokerWriter,
    ledger: Ledger,
    administrator: Option<NatsBroker>,
}

impl Command<'_> {
    /// One stream: surveyed, mended, told.
    async fn stream(&self, stream: &str) -> Result<(Value, Exit), Failure> {
        let mut found = self.survey(stream).await?;
        let before = found.clone();
        let (mut written, mut saved, mut exit) = (0, None, Exit::Ok);
        if self.arguments.dry_run {
            exit = if found.is_whole() { Exit::Ok } else { Exit::Unsuccessful };
        } else if found.diverged.is_empty() {
            written = self.append(&found).await?;
        } else if let Some(administrator) = &self.administrator {
            saved = self.replace(&mut found, administrator).await?;
            written = self.append(&found).await?;
        } else {
            exit = Exit::Refused;
        }
        let missing = match before.lacking() {
            Some((first, last)) => {
                Some(self.ledger.missing(stream, first, last, 20).await.map_err(database)?)
            }
            None => None,
        };
        let tasks = missing.map(|missing| missing.tasks).unwrap_or_default();
        self.draw(&before, &tasks, written, saved.as_deref(), exit);
        let diverged: Vec<u64> = before.diverged.iter().map(|diverged| diverged.sequence).collect();
        let value = json!({
            "stream": stream,
            "ledger": before.ledger,
            "last": before.extent.last,
            "missing": before.lacking().map(|(first, last)| [first, last]),
            "tasks": tasks,
            "diverged": diverged,
            "lost_for_good": before.lost_for_good().map(|(first, last)| [first, last]),
            "written": written,
            "saved": saved.map(|path| path.display().to_string()),
        });
        Ok((value, exit))
    }

    async fn survey(&self, stream: &str) -> Result<Survey, Failure> {
        survey(&self.ledger, &self.reader, stream).await.map_err(not_mended)
    }

    async fn append(&self, found: &Survey) -> Result<u64, Failure> {
        let mut progress = |sequence: u64| {
            if sequence.is_multiple_of(PROGRESS) {
                self.output.remark(format!("{}: {sequence} of {}", found.stream, found.ledger));
            }
        };
        append_missing(&self.ledger, &self.writer, found, &mut progress).await.map_err(not_mended)
    }

    /// Makes the stream anew, empty. First what follows on the ledger's last event is taken into the ledger,
    /// so that it is written back with the rest, and what the ledger does not want is saved. Cut short at any
    /// moment, the command goes on when it is run again.
    async fn replace(
        &self,
        found: &mut Survey,
        administrator: &NatsBroker,
    ) -> Result<Option<PathBuf>, Failure> {
        let stream = found.stream.clone();
        let kept = self.ledger.stored_events(&stream, 0, 1).await.map_err(database)?;
        if kept.first().is_some_and(|(first, _)| first.sequence != 1) {
            let message = format!("the ledger does not have {stream} from its first event on");
            return Err(Failure::new(Exit::Refused, message, "Restore the stream from an archive."));
        }
        if found.goes_on() {
            self.take_in(&stream, found.ledger).await?;
            *found = self.survey(&stream).await?;
        }
        let saved = self.save(found).await?;
        let anew = |error: &dyn std::error::Error| {
            let advice = "Check --bootstrap-seed-file: only the identity `bootstrap` may do this.";
            Failure::new(Exit::Refused, chain(error), advice)
        };
        delete_stream(administrator, &stream).await.map_err(|error| anew(&error))?;
        let mut declared = Declared::of(&self.settings.installation());
        declared.streams.retain(|declared| declared.name == stream);
        declared.consumers.retain(|consumer| consumer.stream == stream);
        bootstrap(administrator, &declared, OnDifference::Report).await.map_err(|error| anew(&error))?;
        *found = self.survey(&stream).await?;
        Ok(saved)
    }

    /// The events behind the ledger's last one, as far as none is missing.
    async fn take_in(&self, stream: &str, after: u64) -> Result<(), Failure> {
        let mut next = after + 1;
        loop {
            let mut page = self.read(stream, next).await?;
            let whole = page.iter().zip(next..).take_while(|(event, place)| event.sequence == *place).count();
            page.truncate(whole);
            let Some(last) = page.last() else { return Ok(()) };
            next = last.sequence + 1;
            let _ = self.ledger.apply(stream, &page).await.map_err(database)?;
        }
    }

    /// Writes every message of the stream that is not the ledger's to a file, one JSON object a line.
    async fn save(&self, found: &Survey) -> Result<Option<PathBuf>, Failure> {
        let name = format!("{}-replaced-{}.jsonl", found.stream, System.now().as_micros() / 1_000);
        let path = self.arguments.save_to.join(name);
        let is_other = |event: &StoredEvent| {
            let at = event.sequence;
            at > found.ledger || found.diverged.iter().any(|diverged| diverged.sequence == at)
        };
        let from = found.diverged.first().map_or(found.ledger + 1, |diverged| diverged.sequence);
        let (mut next, mut file) = (from, None);
        loop {
            let page = self.read(&found.stream, next).await?;
            let Some(last) = page.last() else { break };
            next = last.sequence + 1;
            for event in page.iter().filter(|event| is_other(event)) {
                let file = match &mut file {
                    Some(file) => file,
                    empty => empty.insert(File::create_new(&path).map_err(|e| Failure::file(&path, &e))?),
                };
                writeln!(file, "{}", line(event)).map_err(|error| Failure::file(&path, &error))?;
            }
        }
        let Some(file) = file else { return Ok(None) };
        file.sync_all().map_err(|error| Failure::file(&path, &error))?;
        Ok(Some(path))
    }

    async fn read(&self, stream: &str, from: u64) -> Result<Vec<StoredEvent>, Failure> {
        self.reader.read(stream, from, PAGE).await.map_err(|error| database(LedgerError::from(error)))
    }

    fn draw(&self, found: &Survey, tasks: &[String], written: u64, saved: Option<&Path>, exit: Exit) {
        let Self { output, .. } = self;
        if output.is_json() {
            return;
        }
        let say = |tone: Tone, text: String| {
            output.line(format!("{:<28}  {}", found.stream, output.paint(tone, printable(&text))));
        };
        if let Some((first, last)) = found.lost_for_good() {
            let text = format!(
                "{first} to {last} are lost for good: other logs name them, the ledger never had them"
            );
            say(Tone::Bad, text);
        }
        if !found.diverged.is_empty() {
            say(Tone::Bad, format!("is not what the ledger remembers at {}", places(found)));
        }
        if let Some((first, last)) = found.lacking() {
            let tone = if written > 0 { Tone::Waiting } else { Tone::Bad };
            let tasks = if tasks.is_empty() { String::new() } else { format!(", of {}", tasks.join(", ")) };
            say(tone, format!("lacks {first} to {last}{tasks}"));
        }
        if let Some(path) = saved {
            say(Tone::Waiting, format!("what it held instead is in {}", path.display()));
        }
        match (written, exit) {
            (0, Exit::Ok) => say(Tone::Good, "holds all that the ledger has".to_owned()),
            (0, _) => {}
            (written, _) => say(Tone::Good, format!("{written} events written back")),
        }
    }
}

fn places(found: &Survey) -> String {
    let mut named: Vec<String> =
        found.diverged.iter().take(SHOWN).map(|diverged| diverged.sequence.to_string()).collect();
    if found.diverged.len() > SHOWN {
        named.push(format!("{} more", found.diverged.len() - SHOWN));
    }
    named.join(", ")
}

/// A message as somebody may look at it, or hand it in again: headers and bytes, and the event if it is one.
fn line(event: &StoredEvent) -> Value {
    let decoded = Envelope::decode(&event.payload).ok().map(|envelope| envelope.to_json());
    let payload: String = event.payload.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "stream": event.stream,
        "sequence": event.sequence,
        "time": event.time.to_string(),
        "subject": event.subject,
        "headers": event.headers,
        "payload_hex": payload,
        "event": decoded,
    })
}

fn not_mended(error: ReseedError) -> Failure {
    match error {
        ReseedError::Ledger(error) => database(error),
        ReseedError::Damaged { .. } => {
            let advice = "Build a ledger anew with `millrace ledger rebuild`, or restore its database.";
            Failure::new(Exit::Refused, error.to_string(), advice)
        }
        ReseedError::Write { .. } => {
            let advice = "Run `millrace bootstrap` where the stream is missing, check that --seed-file is the seed \
                          of `restorer`, and run this again: it goes on where it stopped.";
            Failure::new(Exit::Unreachable, chain(&error), advice)
        }
        ReseedError::Elsewhere { .. } => {
            let advice =
                "Stop the service that owns the log, and run this again with its name and --replace.";
            Failure::new(Exit::Refused, error.to_string(), advice)
        }
    }
}
