//! Makes what is declared, and compares what is there.

use serde_json::{Map, Value, json};

use super::compare::object_name;
use super::{ConsumerDeclaration, Declared, Difference, StreamDeclaration, compare_consumer, compare_stream};
use crate::broker::BrokerError;
use crate::nats::{ApiError, NatsBroker};

/// What to do with something that exists and is not as declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDifference {
    /// Leave it, and say so.
    #[default]
    Report,
    /// Change it to what is declared, as far as the server allows.
    Update,
}

/// What was done. Objects are named `stream` or `stream > consumer`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Made now.
    pub created: Vec<String>,
    /// There already, as declared.
    pub unchanged: Vec<String>,
    /// Changed to what is declared.
    pub updated: Vec<String>,
    /// There, but not as declared. The installation must not be used like this.
    pub differs: Vec<Difference>,
}

/// Why the bootstrap stopped.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The server would not make, change or keep an object as declared.
    #[error("the server refuses {object} as declared: {source}")]
    Refused {
        /// The stream, or `stream > consumer`.
        object: String,
        /// Its answer.
        source: ApiError,
    },
    /// The server took the declaration and dropped part of it, as servers before 2.12 do.
    #[error("the server accepted {0} but keeps something else; is it nats-server 2.12 or newer?")]
    Dropped(Difference),
    /// The connection failed.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Creates what is missing and compares what exists, streams first. Safe to repeat, and to run from
/// several places at once. Needs the bootstrap identity.
pub async fn bootstrap(
    broker: &NatsBroker,
    declared: &Declared,
    on_difference: OnDifference,
) -> Result<Report, BootstrapError> {
    let mut report = Report::default();
    for stream in &declared.streams {
        apply(broker, &Object::Stream(stream), on_difference, &mut report).await?;
    }
    for consumer in &declared.consumers {
        // A consumer of a stream that is not what it should be cannot be judged.
        if report.differs.iter().all(|difference| difference.object != consumer.stream) {
            apply(broker, &Object::Consumer(consumer), on_difference, &mut report).await?;
        }
    }
    Ok(report)
}

/// Deletes a stream with all that it holds and all its consumers; nothing when there is no such stream.
/// Needs the bootstrap identity. For a log that is about to be written anew from the ledger.
pub async fn delete_stream(broker: &NatsBroker, stream: &str) -> Result<(), BootstrapError> {
    if broker.stream_config(stream).await?.is_none() {
        return Ok(());
    }
    let deleted = broker.api(&format!("STREAM.DELETE.{stream}"), &Value::Null).await?;
    deleted.map(drop).map_err(|source| BootstrapError::Refused { object: stream.to_owned(), source })
}

enum Object<'a> {
    Stream(&'a StreamDeclaration),
    Consumer(&'a ConsumerDeclaration),
}

impl Object<'_> {
    fn name(&self) -> String {
        match self {
            Self::Stream(stream) => stream.name.clone(),
            Self::Consumer(consumer) => object_name(consumer),
        }
    }

    fn differences(&self, found: &Value) -> Vec<Difference> {
        match self {
            Self::Stream(stream) => compare_stream(stream, found),
            Self::Consumer(consumer) => compare_consumer(consumer, found),
        }
    }

    async fn info(&self, broker: &NatsBroker) -> Result<Option<Value>, BrokerError> {
        match self {
            Self::Stream(stream) => broker.stream_config(&stream.name).await,
            Self::Consumer(consumer) => broker.consumer_config(&consumer.stream, &consumer.durable).await,
        }
    }

    async fn create(&self, broker: &NatsBroker) -> Result<Result<Value, ApiError>, BrokerError> {
        match self {
            Self::Stream(stream) => {
                let mut request = stream.config();
                request.insert("pedantic".to_owned(), Value::Bool(true));
                broker.api(&format!("STREAM.CREATE.{}", stream.name), &Value::Object(request)).await
            }
            Self::Consumer(consumer) => put_consumer(broker, consumer, "create").await,
        }
    }

    async fn update(
        &self,
        broker: &NatsBroker,
        found: &Value,
    ) -> Result<Result<Value, ApiError>, BrokerError> {
        match self {
            Self::Stream(stream) => {
                let request = Value::Object(merged(found, stream.config()));
                broker.api(&format!("STREAM.UPDATE.{}", stream.name), &request).await
            }
            Self::Consumer(consumer) => put_consumer(broker, consumer, "update").await,
        }
    }
}

async fn put_consumer(
    broker: &NatsBroker,
    consumer: &ConsumerDeclaration,
    action: &str,
) -> Result<Result<Value, ApiError>, BrokerError> {
    let request = json!({
        "stream_name": consumer.stream,
        "config": consumer.config(),
        "action": action,
        "pedantic": true,
    });
    broker.api(&format!("CONSUMER.CREATE.{}.{}", consumer.stream, consumer.durable), &request).await
}

/// What the server has, with our fields over it: fields that we do not know stay as they are.
fn merged(found: &Value, declared: Map<String, Value>) -> Map<String, Value> {
    let mut request = found.as_object().cloned().unwrap_or_default();
    request.extend(declared);
    request.insert("pedantic".to_owned(), Value::Bool(true));
    request
}

async fn apply(
    broker: &NatsBroker,
    object: &Object<'_>,
    on_difference: OnDifference,
    report: &mut Report,
) -> Result<(), BootstrapError> {
    let name = object.name();
    let refused = |source| BootstrapError::Refused { object: name.clone(), source };
    let Some(found) = object.info(broker).await? else {
        // Somebody else may have made it meanwhile: then the answer is theirs, and is compared all the same.
        let created = object.create(broker).await?;
        if let Err(error) = created
            && !error.says_it_exists()
        {
            return Err(refused(error));
        }
        confirm(broker, object).await?;
        report.created.push(name);
        return Ok(());
    };
    let differences = object.differences(&found);
    if differences.is_empty() {
        report.unchanged.push(name);
    } else if on_difference == OnDifference::Update {
        object.update(broker, &found).await?.map_err(refused)?;
        confirm(broker, object).await?;
        report.updated.push(name);
    } else {
        report.differs.extend(differences);
    }
    Ok(())
}

/// Reads back what was written: a server may accept a field and drop it.
async fn confirm(broker: &NatsBroker, object: &Object<'_>) -> Result<(), BootstrapError> {
    let found = object.info(broker).await?.unwrap_or(Value::Null);
    match object.differences(&found).into_iter().next() {
        Some(difference) => Err(BootstrapError::Dropped(difference)),
        None => Ok(()),
    }
}
