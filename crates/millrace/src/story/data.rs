//! An event's data as the API sends it: proto3 JSON in which what is empty is left out.

use millrace_rpc::v1::HistoryEvent;
use serde_json::Value;

/// Data of one event; whatever is missing reads as empty.
pub(crate) struct Data(Value);

impl Data {
    pub(crate) fn of(event: &HistoryEvent) -> Self {
        Self(serde_json::from_str(&event.data).unwrap_or_default())
    }

    /// The text at a JSON pointer such as `/pull_request/url`.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn number(&self, pointer: &str) -> u64 {
        self.0.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
    }

    pub(crate) fn is(&self, pointer: &str) -> bool {
        self.0.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
    }

    /// An enum's value without its prefix, in lower case with blanks: `WORK_ORDER_KIND_CHECK` > `check`.
    pub(crate) fn word(&self, pointer: &str, prefix: &str) -> String {
        let value = self.text(pointer);
        value.strip_prefix(prefix).unwrap_or(value).to_lowercase().replace('_', " ")
    }

    /// The items of a list.
    pub(crate) fn list(&self, pointer: &str) -> Vec<Self> {
        let items = self.0.pointer(pointer).and_then(Value::as_array);
        items.into_iter().flatten().map(|item| Self(item.clone())).collect()
    }

    /// The item itself, when it is text.
    pub(crate) fn itself(&self) -> &str {
        self.0.as_str().unwrap_or_default()
    }

    /// The failure at a pointer as `CODE: sentence`; `None` when there is none.
    pub(crate) fn failure(&self, pointer: &str) -> Option<String> {
        let code = self.code(pointer)?;
        Some(format!("{code}: {}", self.text(&format!("{pointer}/message"))))
    }

    /// The name of the failure's code.
    pub(crate) fn code(&self, pointer: &str) -> Option<String> {
        let code = self.text(&format!("{pointer}/code"));
        let name = code.strip_prefix("ERROR_CODE_").unwrap_or(code);
        (!name.is_empty()).then(|| name.to_owned())
    }
}
