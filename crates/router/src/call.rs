//! One call of one model: money put aside, a place taken, the request sent, and sent again while that may help.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::conversation::{Conversation, End};
use crate::crew::{Jitter, Model, Retry};
use crate::provider::{ErrorClass, ModelError, ModelRequest, ModelResponse, Provider, Usage};
use crate::record::CallRecord;
use crate::select::{Pick, next_random};
use crate::shared::account::{Reserved, reserve, settle};
use crate::shared::meter::{self, Place};
use crate::shared::{SWITCH_KEY, SharedError, Switch, look};

/// What came of a call.
pub(crate) enum Called {
    Answered(ModelResponse),
    Failed(ModelError),
    /// Somebody else took the last place, or the last of the money: choose again.
    Lost,
}

/// A call whose answer is waited for.
pub(crate) struct Ticket {
    record: CallRecord,
    started: Instant,
    /// What was put aside for the request under way, and what it costs if its answer is never seen.
    held: Option<(Held, u64)>,
}

#[derive(Default)]
struct Held {
    reserved: Option<Reserved>,
    place: Option<Place>,
}

/// How much longer than a request what was put aside for it is kept, so that a slow worker is no dead one.
const GRACE: Duration = Duration::from_secs(30);

impl Conversation<'_> {
    /// Calls the model that was picked.
    pub(crate) async fn call(&mut self, pick: Pick) -> Result<Called, End> {
        let Some(model) = self.crew.models.get(&pick.name) else { return Ok(Called::Lost) };
        let Some(provider) = self.router.provider(&model.provider) else { return Ok(Called::Lost) };
        let model = Model { max_output_tokens: pick.bill.output, ..model.clone() };
        let retry = &self.crew.defaults.retry;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let held = match self.enter(&pick, &model).await? {
                Ok(held) => held,
                Err(_) if attempt == 1 => return Ok(Called::Lost),
                // A pause during which others took the place: the failure before it stands.
                Err(error) => return Ok(self.give_up(error)),
            };
            let error = match self.send(&pick, &model, provider, held).await? {
                Ok(response) => {
                    let took = self.close();
                    self.router.answered(&pick.name, took);
                    return Ok(Called::Answered(response));
                }
                Err(error) => error,
            };
            let hint = error.retry_after.filter(|_| error.class.is_passing());
            let waits = hint.is_none_or(|hint| hint <= retry.longest_hint());
            if attempt >= retry.attempts || !retry.covers(error.class) || !waits {
                return Ok(self.give_up(error));
            }
            let pause = pause(retry, attempt, &mut self.lots);
            tokio::time::sleep(pause.max(hint.unwrap_or_default())).await;
        }
    }

    /// A place and the money for one request.
    async fn enter(&self, pick: &Pick, model: &Model) -> Result<Result<Held, ModelError>, SharedError> {
        if model.is_recipe() {
            return Ok(Ok(Held::default()));
        }
        let shared = self.router.shared();
        let life = self.crew.defaults.timeout.request() + GRACE;
        let until = shared.now().saturating_add(i64::try_from(life.as_micros()).unwrap_or(i64::MAX));
        let entered = meter::enter(shared, &pick.name, model.limits, pick.bill.tokens, until).await?;
        let place = match entered {
            Ok(place) => place,
            Err(taken) => return Ok(Err(ModelError::new(ErrorClass::RateLimited, taken.why))),
        };
        if pick.bill.most == 0 {
            return Ok(Ok(Held { reserved: None, place }));
        }
        match reserve(shared, &self.accounts(), pick.bill.most, until).await? {
            Ok(reserved) => Ok(Ok(Held { reserved: Some(reserved), place })),
            Err(short) => {
                if let Some(place) = place {
                    meter::leave(shared, place, Some(0)).await?;
                }
                Ok(Err(ModelError::new(ErrorClass::RateLimited, short.words())))
            }
        }
    }

    async fn send(
        &mut self,
        pick: &Pick,
        model: &Model,
        provider: &dyn Provider,
        held: Held,
    ) -> Result<Result<ModelResponse, ModelError>, SharedError> {
        let timeout = self.crew.defaults.timeout.request();
        let request = ModelRequest {
            role: self.ask.role,
            model,
            system: self.ask.system.clone(),
            prompt: self.messages.clone(),
            contract: self.contract_name(),
            schema: self.schema(),
            recipe: self.ask.recipe.clone(),
            connect_timeout: self.crew.defaults.timeout.connect(),
            deadline: self.ask.deadline.min(Instant::now() + timeout),
        };
        // What a request cost whose answer nobody saw is not known: its question was read at least.
        let unseen =
            Usage { input: if model.is_recipe() { 0 } else { pick.bill.tokens }, ..Usage::default() };
        let at_least = model.price().micro_usd(&unseen);
        let ticket = self.under_way.get_or_insert_with(|| Ticket {
            record: CallRecord::opened(&request, pick, self.crew, self.config.policy, &self.ask.origin),
            started: Instant::now(),
            held: None,
        });
        ticket.held = Some((held, at_least));
        if !model.is_recipe() {
            // Off means off, also for the request after a pause; whoever watches the switch says so.
            while look::<Switch>(self.router.shared(), SWITCH_KEY).await?.off {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        let mut response = match timeout_at(request.deadline, provider.complete(&request)).await {
            Ok(response) => response,
            Err(_) => {
                let message = format!("no answer within {} ms", timeout.as_millis());
                Err(ModelError { usage: Some(unseen), ..ModelError::new(ErrorClass::Timeout, message) })
            }
        };
        if let Err(error) = &mut response
            && error.class == ErrorClass::Timeout
            && error.usage.is_none()
        {
            error.usage = Some(unseen);
        }
        let usage = match &response {
            Ok(response) => Some(response.usage),
            Err(error) => error.usage,
        };
        let cost = usage.map_or(0, |usage| model.price().micro_usd(&usage));
        let held = self.under_way.as_mut().and_then(|ticket| {
            ticket.record.fill(&response, cost);
            ticket.held.take()
        });
        if let Some((held, _)) = held {
            self.free(held, cost, Some(usage.unwrap_or_default())).await?;
        }
        if let Err(error) = &response
            && error.class.is_passing()
            && !model.is_recipe()
        {
            let shared = self.router.shared();
            let long = error.retry_after.filter(|hint| *hint > self.crew.defaults.retry.longest_hint());
            let asked = long.map(|hint| {
                let hint = i64::try_from(hint.min(LONGEST_COOLDOWN).as_micros()).unwrap_or(i64::MAX);
                shared.now().saturating_add(hint)
            });
            meter::failed(shared, &pick.name, model.cooldown, asked).await?;
        }
        Ok(response)
    }

    async fn free(&self, held: Held, cost: u64, usage: Option<Usage>) -> Result<(), SharedError> {
        let shared = self.router.shared();
        if let Some(place) = held.place {
            let used = usage.map(|usage| usage.input.saturating_add(usage.output));
            meter::leave(shared, place, used).await?;
        }
        match held.reserved {
            Some(reserved) => settle(shared, reserved, cost).await,
            None => Ok(()),
        }
    }

    /// Moves the call that is over into the trail; how long it took.
    fn close(&mut self) -> Duration {
        let Some(Ticket { mut record, started, .. }) = self.under_way.take() else { return Duration::ZERO };
        record.duration = started.elapsed();
        let took = record.duration;
        self.record(record);
        took
    }

    fn give_up(&mut self, error: ModelError) -> Called {
        let error = match self.under_way.as_ref().and_then(|ticket| ticket.record.error.clone()) {
            Some(said) => said,
            None => error,
        };
        self.close();
        Called::Failed(error)
    }

    /// Ends what is under way because nobody waits for it any more: recorded, and given back.
    pub(crate) async fn cut_short(&mut self, why: &str) -> Result<(), SharedError> {
        let Some(ticket) = &mut self.under_way else { return Ok(()) };
        let held = ticket.held.take();
        let cost = held.as_ref().map_or(0, |(_, at_least)| *at_least);
        if held.is_some() {
            ticket.record.requests += 1;
        }
        ticket.record.cost_micro_usd = ticket.record.cost_micro_usd.saturating_add(cost);
        ticket.record.error = Some(ModelError::new(ErrorClass::Timeout, why));
        self.close();
        match held {
            Some((held, _)) => self.free(held, cost, None).await,
            None => Ok(()),
        }
    }
}

/// The longest that a provider's wish keeps a model from being asked.
const LONGEST_COOLDOWN: Duration = Duration::from_secs(3600);

/// The pause after the failed request of that number, from 1.
fn pause(retry: &Retry, attempt: u32, lots: &mut u64) -> Duration {
    let doubled = retry.base_ms.saturating_mul(1_u64.checked_shl(attempt - 1).unwrap_or(u64::MAX));
    let longest = doubled.min(retry.max_ms);
    Duration::from_millis(match retry.jitter {
        Jitter::Full => next_random(lots) % (longest + 1),
        Jitter::None => longest,
    })
}
