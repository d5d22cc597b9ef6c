//! Pages of long lists: a token says behind which row the next one begins, so that rows that come or go
//! meanwhile shift nothing.

use sha2::{Digest as _, Sha256};

use crate::fold::Value;

const DEFAULT_SIZE: u32 = 50;
const MAX_SIZE: u32 = 500;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// What to ask for the next page with; `None`: this is the last one.
    pub next_page_token: Option<String>,
}

/// A token that does not belong to this list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the page token belongs to another list or filter")]
pub struct PageTokenError;

/// The place behind which a page begins: a number (a time, or a sequence) and a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) number: i64,
    pub(crate) name: String,
}

/// What a list is asked for, as SQL conditions.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    texts: Vec<String>,
    pub(crate) values: Vec<Value>,
}

/// Rows of a page: 0 asks for the default, too many are cut.
pub(crate) const fn size(asked: u32) -> usize {
    let size = if asked == 0 { DEFAULT_SIZE } else { asked };
    (if size > MAX_SIZE { MAX_SIZE } else { size }) as usize
}

impl Conditions {
    /// Adds a condition; every `?` in it stands for `value`.
    pub(crate) fn add(&mut self, text: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        self.texts.push(text.replace('?', &format!("${}", self.values.len())));
    }

    /// Adds a condition if there is something to ask for.
    pub(crate) fn maybe(&mut self, text: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.add(text, value);
        }
    }

    /// Adds a condition without a value.
    pub(crate) fn plain(&mut self, text: &str) {
        self.texts.push(text.to_owned());
    }

    /// Rows behind `place` in a list that falls by `number`, then by `name`.
    pub(crate) fn behind(&mut self, number: &str, name: &str, place: Option<&Place>) {
        if let Some(place) = place {
            self.values.extend([Value::Int(place.number), (&place.name).into()]);
            let at = self.values.len();
            self.texts.push(format!("({number}, {name}) < (${}, ${at})", at - 1));
        }
    }

    /// `WHERE …`, or nothing.
    pub(crate) fn sql(&self) -> String {
        if self.texts.is_empty() { String::new() } else { format!("WHERE {}", self.texts.join(" AND ")) }
    }

    /// Names this list, so that its tokens fit no other.
    pub(crate) fn name(&self, list: &str) -> String {
        let digest = Sha256::digest(format!("{list} {self:?}"));
        hex::encode(digest).chars().take(12).collect()
    }
}

/// A page from one row more than asked for.
pub(crate) fn page<T>(list: &str, mut items: Vec<T>, size: usize, place: impl Fn(&T) -> Place) -> Page<T> {
    let more = items.len() > size;
    items.truncate(size);
    let last = items.last().filter(|_| more).map(place);
    let next_page_token = last.map(|place| hex::encode(format!("{list}/{}/{}", place.number, place.name)));
    Page { items, next_page_token }
}

/// The place in a token of `list`.
pub(crate) fn place(list: &str, token: Option<&str>) -> Result<Option<Place>, PageTokenError> {
    let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(None) };
    let text =
        hex::decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(PageTokenError)?;
    let mut parts = text.splitn(3, '/');
    match (parts.next(), parts.next().and_then(|number| number.parse().ok()), parts.next()) {
        (Some(found), Some(number), Some(name)) if found == list => {
            Ok(Some(Place { number, name: name.to_owned() }))
        }
        _ => Err(PageTokenError),
    }
}
