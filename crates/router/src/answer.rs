//! Finds the JSON in a model's text. Only its surroundings and its commas are mended, never its meaning, and what
//! was mended is named (S4-IMP-27).

use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The value that a text holds.
#[derive(Debug, PartialEq)]
pub(crate) struct Parsed {
    pub(crate) value: Value,
    /// What had to be taken away, each once; empty if the text was plain JSON.
    pub(crate) repairs: Vec<Repair>,
}

/// The faults of syntax that are mended. There are no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    /// A Markdown code fence around the object.
    Fence,
    /// Words before or after the one object.
    Prose,
    /// A comma after the last element of a list or an object.
    TrailingComma,
}

impl Repair {
    /// As in records and traces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::Prose => "prose",
            Self::TrailingComma => "trailing_comma",
        }
    }
}

/// # Errors
/// One line that says why there is no single JSON object, with the start of the text.
pub(crate) fn parse(text: &str) -> Result<Parsed, String> {
    let whole = match strict(text) {
        Ok(value) => return Ok(Parsed { value, repairs: Vec::new() }),
        Err(error) => error,
    };
    let refused =
        |why: &str| format!("the answer is not a JSON object ({why}); it begins: {}", beginning(text));
    let spans =
        spans(text).ok_or_else(|| refused(&format!("it is cut off, or a brace is not closed: {whole}")))?;
    let mut found = Vec::new();
    let mut inner = None;
    for span in spans {
        match object(span.text) {
            Ok((value, repaired)) => found.push((span, value, repaired)),
            Err(error) => inner = inner.or(Some(error)),
        }
    }
    let others = found.len().saturating_sub(1);
    match found.pop() {
        Some((span, value, repaired)) if others == 0 => {
            let mut repairs = surroundings(span.before, span.after)
                .ok_or_else(|| refused("the object is a part of something that is not JSON"))?;
            repairs.extend(repaired);
            Ok(Parsed { value, repairs })
        }
        Some(_) => Err(format!("the answer holds {} JSON objects and must be exactly one", others + 1)),
        // What is wrong inside the braces says more than that a word stands before them.
        None => Err(refused(&inner.unwrap_or(whole).to_string())),
    }
}

/// How many objects are looked at, so that a text full of them costs little.
const MOST_SPANS: usize = 64;

/// A text from an opening brace to the one that closes it, with what stands around it.
struct Span<'a> {
    before: &'a str,
    text: &'a str,
    after: &'a str,
}

/// The outermost pairs of braces, in order; `None` if one is not closed. What is inside a pair that is no JSON is
/// never taken for the answer: it is a part of one that is broken.
fn spans(text: &str) -> Option<Vec<Span<'_>>> {
    let mut spans = Vec::new();
    let mut from = 0;
    while spans.len() < MOST_SPANS {
        let rest = text.get(from..).unwrap_or_default();
        let Some(brace) = rest.find('{') else { break };
        let (start, opened) = (from + brace, rest.get(brace..).unwrap_or_default());
        let span = balanced(opened)?;
        let end = start + span.len();
        spans.push(Span {
            before: text.get(..start).unwrap_or_default(),
            text: span,
            after: text.get(end..).unwrap_or_default(),
        });
        from = end;
    }
    Some(spans)
}

fn object(span: &str) -> Result<(Value, Option<Repair>), serde_json::Error> {
    let error = match strict(span) {
        Ok(value) => return Ok((value, None)),
        Err(error) => error,
    };
    let mended = without_trailing_commas(span);
    if mended.len() == span.len() {
        return Err(error);
    }
    strict(&mended).map(|value| (value, Some(Repair::TrailingComma)))
}

/// What stands around the object; `None` if that is a part of a larger structure.
fn surroundings(before: &str, after: &str) -> Option<Vec<Repair>> {
    let (before, after) = (before.trim(), after.trim());
    if before.ends_with(['[', '{']) || after.starts_with([']', '}', ',']) {
        return None;
    }
    let (above, opened) = match before.rsplit_once("```") {
        Some((above, info)) if info.chars().all(|c| c.is_ascii_alphanumeric()) => (above, true),
        _ => (before, false),
    };
    let (below, closed) = match after.strip_prefix("```") {
        Some(below) => (below, true),
        None => (after, false),
    };
    let fenced = (opened || closed).then_some(Repair::Fence);
    let prose = !above.trim().is_empty() || !below.trim().is_empty();
    Some(fenced.into_iter().chain(prose.then_some(Repair::Prose)).collect())
}

/// JSON as RFC 8259 has it, in which moreover no object has a key twice: serde_json would keep the last one and say
/// nothing.
fn strict(text: &str) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Strict.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(self)? {
            list.push(element);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                let key: String = key.chars().take(64).collect();
                return Err(A::Error::custom(format!("the key `{key}` is there twice")));
            }
            let value = entries.next_value_seed(self)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// From an opening brace to the one that closes it, braces in strings not counted.
fn balanced(text: &str) -> Option<&str> {
    let mut depth = 0_usize;
    let mut strings = Strings::default();
    for (at, character) in text.char_indices() {
        if strings.inside(character) {
            continue;
        }
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text.get(..=at);
        }
    }
    None
}

/// Without each comma that stands between an element and the end of its list or object.
fn without_trailing_commas(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut strings = Strings::default();
    let mut before = '{';
    for (at, character) in text.char_indices() {
        let comma =
            !strings.inside(character) && character == ',' && !matches!(before, '{' | '[' | ',' | ':');
        let after = text.get(at + character.len_utf8()..).unwrap_or_default();
        if !(comma && after.trim_start().starts_with(['}', ']'])) {
            kept.push(character);
        }
        if !character.is_whitespace() {
            before = character;
        }
    }
    kept
}

/// Follows JSON strings through a text.
#[derive(Default)]
struct Strings {
    open: bool,
    escaped: bool,
}

impl Strings {
    /// Whether this character, the next one of the text, belongs to a string (its quotes included).
    fn inside(&mut self, character: char) -> bool {
        let was_open = self.open;
        match character {
            _ if self.escaped => self.escaped = false,
            '\\' if self.open => self.escaped = true,
            '"' => self.open = !self.open,
            _ => {}
        }
        was_open || self.open
    }
}

fn beginning(text: &str) -> String {
    const LONGEST: usize = 160;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let start: String = line.chars().take(LONGEST).collect();
    if start.len() < line.len() { format!("{start} …") } else { start }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn repaired(text: &str) -> Vec<Repair> {
        let parsed = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(parsed.value, json!({"a": [1, 2]}), "{text}");
        parsed.repairs
    }

    #[test]
    fn plain_json_is_taken_as_it_is() {
        let parsed = parse(" {\"a\": \"}{,}\"}\n").unwrap();
        assert_eq!(parsed.value, json!({"a": "}{,}"}));
        assert_eq!(parsed.repairs, []);
        let numbers = parse("{\"a\": [-1, 18446744073709551615, 1.5e3, null, true]}").unwrap();
        assert_eq!(numbers.value, json!({"a": [-1, u64::MAX, 1500.0, null, true]}));
    }

    #[test]
    fn s4_imp_27_each_repair_is_named() {
        use Repair::{Fence, Prose, TrailingComma};
        for (text, names) in [
            ("```json\n{\"a\": [1, 2]}\n```", vec![Fence]),
            ("```\n{\"a\": [1, 2]}", vec![Fence]),
            ("Sure, here it is (for {you}):\n{\"a\": [1, 2]}\nThat \"was\" it.", vec![Prose]),
            ("Here:\n```json\n{\"a\": [1, 2]}\n```\nDone.", vec![Fence, Prose]),
            ("{\"a\": [1, 2,],}", vec![TrailingComma]),
            ("```\n{\"a\": [1, 2 , ] }\n```\n", vec![Fence, TrailingComma]),
        ] {
            assert_eq!(repaired(text), names, "{text}");
        }
        assert_eq!([Fence, Prose, TrailingComma].map(Repair::name), ["fence", "prose", "trailing_comma"]);
    }

    #[test]
    fn strings_survive_the_repair() {
        let parsed = parse("x {\"a\": \",} \\\" ,]\",}").unwrap();
        assert_eq!(parsed.value, json!({"a": ",} \" ,]"}));
    }

    /// S4-IMP-27: everything else is refused, also where a part of it would be JSON.
    #[test]
    fn s4_imp_27_nothing_is_guessed() {
        assert!(parse("{\"a\": 1} or {\"a\": 2}").unwrap_err().contains("2 JSON objects"));
        for text in [
            "",
            "no",
            "{\"a\": 1",
            "{\"a\": {\"b\": 1}",
            "{\"a\": [{\"b\": 1}, {\"b\": 2",
            "{\"a\": \"cut o",
            "{'a': 1}",
            "{'a': {\"b\": 1}}",
            "{a: 1}",
            "{\"a\": tru}",
            "{\"a\": NaN}",
            "{\"a\": Infinity}",
            "{\"a\": 1e999}",
            "{\"a\": 01}",
            "{\"a\": 1 /* one */}",
            "{\"a\": 1 // one\n}",
            "{\"a\": 1,,}",
            "{,}",
            "{\"a\": [,]}",
            "{\"a\": ,}",
            "{\"a\" 1}",
            "{\"a\": \"one\ntwo\"}",
            "[{\"a\": 1},]",
            "{\"a\": \"\\ud800\"}",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("not a JSON object"), "{text}: {error}");
        }
        assert!(parse(&"{".repeat(1_000_000)).is_err());
        assert!(parse(&"{\"a\":".repeat(100_000)).is_err());
        assert!(parse(&format!("{}1{}", "{\"a\":".repeat(1_000), "}".repeat(1_000))).is_err());
    }

    #[test]
    fn s4_imp_27_a_key_that_is_there_twice_is_refused_at_any_depth() {
        for text in [
            "{\"a\": 1, \"a\": 1}",
            "{\"b\": [{\"a\": 1, \"c\": 2, \"a\": 3}]}",
            "{\"a\": 1, \"\\u0061\": 2}",
            "```json\n{\"a\": 1, \"a\": 2,}\n```",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("the key `a` is there twice"), "{text}: {error}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            "[ -~äöü\u{2028}\n\"\\\\]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-z{},\"]{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn any_object() -> impl Strategy<Value = Value> {
        proptest::collection::btree_map("[a-z{},\"]{1,4}", any_json(), 1..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn any_object_is_read_as_it_was_written(value in any_object(), pretty in any::<bool>()) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            prop_assert_eq!(parse(&text).unwrap(), Parsed { value, repairs: Vec::new() });
        }

        #[test]
        fn a_fence_and_words_around_it_never_change_the_value(value in any_object(), words in "[A-Za-z .:!]{1,20}") {
            let text = format!("{words}x\n```json\n{value:#}\n```\n{words}x");
            prop_assert_eq!(parse(&text).unwrap(), Parsed { value, repairs: vec![Repair::Fence, Repair::Prose] });
        }

        #[test]
        fn an_answer_that_is_cut_off_is_never_taken(value in any_object(), cut in any::<prop::sample::Index>()) {
            let text = value.to_string();
            let cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let cut = cuts[cut.index(cuts.len())];
            prop_assert!(parse(&text[..cut]).is_err());
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn any_braces_are_answered(text in "[{}\\[\\]\",:a\\\\` \n]{0,80}") {
            let _ = parse(&text);
        }
    }
}
