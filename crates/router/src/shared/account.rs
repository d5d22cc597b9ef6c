//! Money: what is spent and what is put aside for requests under way. Strict over any number of workers.
//!
//! Before a request the most that it can cost is reserved in every account that it counts against; afterwards the
//! reservation is replaced by what it did cost. A reservation of a worker that died runs out by itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Shared, SharedError, change, look};

/// A limit of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Of one request.
    Call,
    /// Of one task, or of one role in it.
    Task,
    /// Of one day in UTC.
    Day,
}

impl Limit {
    /// As in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Task => "task",
            Self::Day => "day",
        }
    }
}

/// An account and its limit, in millionths of a US dollar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) which: Limit,
    pub(crate) key: String,
    pub(crate) limit: u64,
}

/// An account's entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Balance {
    /// Millionths of a US dollar.
    pub(crate) spent: u64,
    /// By ticket.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    reserved: BTreeMap<String, Reservation>,
    /// Tickets that were settled last: a write whose answer was lost is not done twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    settled: Vec<String>,
}

/// How many settled tickets are remembered.
const SETTLED: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Reservation {
    amount: u64,
    /// When it runs out, in microseconds since 1970.
    until: i64,
}

/// Why an amount does not fit into an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Short {
    pub(crate) which: Limit,
    pub(crate) limit: u64,
    pub(crate) spent: u64,
    /// It would fit if what others have reserved were given back.
    pub(crate) waits: bool,
}

impl Balance {
    pub(crate) fn reserved(&self, now: i64) -> u64 {
        self.reserved.values().filter(|held| held.until > now).map(|held| held.amount).sum()
    }

    /// Whether 90 % of the limit are spent or put aside (S3-8.2).
    pub(crate) fn is_low(&self, limit: u64, now: i64) -> bool {
        let used = u128::from(self.spent.saturating_add(self.reserved(now)));
        used * 10 >= u128::from(limit) * 9
    }

    /// Why `amount` does not fit, if it does not.
    pub(crate) fn short_of(&self, amount: u64, account: &Account, now: i64) -> Option<Short> {
        let after = self.spent.saturating_add(amount);
        let used = after.saturating_add(self.reserved(now));
        // What is spent to the last is over, whatever comes.
        let over = used > account.limit || self.spent >= account.limit;
        over.then_some(Short {
            which: account.which,
            limit: account.limit,
            spent: self.spent,
            waits: after <= account.limit && self.spent < account.limit,
        })
    }
}

/// What was put aside for one request.
#[derive(Debug)]
pub(crate) struct Reserved {
    ticket: String,
    keys: Vec<String>,
}

/// The balances of some accounts.
pub(crate) async fn balances(shared: &dyn Shared, accounts: &[Account]) -> Result<Vec<Balance>, SharedError> {
    let mut found = Vec::with_capacity(accounts.len());
    for account in accounts {
        found.push(look(shared, &account.key).await?);
    }
    Ok(found)
}

/// Puts `amount` aside in every account until `until`, or in none.
pub(crate) async fn reserve(
    shared: &dyn Shared,
    accounts: &[Account],
    amount: u64,
    until: i64,
) -> Result<Result<Reserved, Short>, SharedError> {
    let mut reserved = Reserved { ticket: shared.ticket(), keys: Vec::new() };
    for account in accounts {
        let ticket = &reserved.ticket;
        let refused = change(shared, &account.key, |balance: &mut Balance| {
            let now = shared.now();
            balance.reserved.retain(|_, held| held.until > now);
            if let Some(short) = balance.short_of(amount, account, now) {
                return (false, Some(short));
            }
            balance.reserved.insert(ticket.clone(), Reservation { amount, until });
            (true, None)
        })
        .await?;
        if let Some(short) = refused {
            settle(shared, reserved, 0).await?;
            return Ok(Err(short));
        }
        reserved.keys.push(account.key.clone());
    }
    Ok(Ok(reserved))
}

/// Replaces a reservation by what was spent.
pub(crate) async fn settle(shared: &dyn Shared, reserved: Reserved, spent: u64) -> Result<(), SharedError> {
    let Reserved { ticket, keys } = reserved;
    for key in keys {
        change(shared, &key, |balance: &mut Balance| {
            if balance.settled.contains(&ticket) {
                return (false, ());
            }
            balance.reserved.remove(&ticket);
            balance.settled.push(ticket.clone());
            if balance.settled.len() > SETTLED {
                balance.settled.remove(0);
            }
            balance.spent = balance.spent.saturating_add(spent);
            (true, ())
        })
        .await?;
    }
    Ok(())
}
