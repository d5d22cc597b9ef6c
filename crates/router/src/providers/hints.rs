//! When a provider says to come back.

use std::time::Duration;

use hyper::header::{DATE, HeaderMap, RETRY_AFTER};
use jiff::fmt::rfc2822;
use serde_json::Value;

/// The hint of an answer, the most exact one first; nothing if there is none that can be read.
///
/// `retry-after-ms`, `retry-after` (seconds, or a date that is measured from the answer's own date), Google's
/// `RetryInfo`, OpenAI's `x-ratelimit-reset-*` of what is used up, and last the words of the message.
pub(super) fn retry_after(headers: &HeaderMap, error: &Value, message: &str) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let millis = text("retry-after-ms").and_then(|millis| seconds(millis.parse::<f64>().ok()? / 1000.0));
    millis
        .or_else(|| from_header(headers))
        .or_else(|| retry_info(error))
        .or_else(|| reset(&text, error))
        .or_else(|| in_words(message))
}

fn from_header(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(number) = value.parse::<f64>() {
        return seconds(number);
    }
    let then = rfc2822::parse(value).ok()?.timestamp();
    // The server's clock is the one that its date is meant by.
    let now = rfc2822::parse(headers.get(DATE)?.to_str().ok()?).ok()?.timestamp();
    Some(Duration::try_from(then.duration_since(now)).unwrap_or_default())
}

fn retry_info(error: &Value) -> Option<Duration> {
    let details = error.get("details")?.as_array()?;
    details.iter().find_map(|detail| go_duration(detail.get("retryDelay")?.as_str()?))
}

/// Of requests and tokens the kind that is used up; where that is not said, the later one.
fn reset<'a>(text: &impl Fn(&str) -> Option<&'a str>, error: &Value) -> Option<Duration> {
    let kind = error.get("type").and_then(Value::as_str).unwrap_or_default();
    let at = |kind: &str| go_duration(text(&format!("x-ratelimit-reset-{kind}"))?);
    let used_up = |kind: &str| text(&format!("x-ratelimit-remaining-{kind}")) == Some("0");
    if ["requests", "tokens"].contains(&kind) {
        return at(kind);
    }
    let exhausted = ["requests", "tokens"].into_iter().filter(|kind| used_up(kind)).filter_map(at).max();
    exhausted.or_else(|| ["requests", "tokens"].into_iter().filter_map(at).max())
}

/// OpenAI's messages say it too: "Please try again in 174ms."
fn in_words(message: &str) -> Option<Duration> {
    let (_, after) = message.split_once("try again in ")?;
    let word = after.split_whitespace().next()?;
    go_duration(word.trim_end_matches('.'))
}

/// A duration as Go writes it: `34.07s`, `900ms`, `6m0s`, `1h2m3.5s`.
pub(super) fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(digits)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit_end)?;
        let unit = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * unit;
        rest = after;
    }
    seconds(total)
}

/// To whole microseconds: what a sum of floats leaves behind that is no time.
fn seconds(number: f64) -> Option<Duration> {
    Duration::try_from_secs_f64((number * 1e6).round() / 1e6).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};
    use serde_json::json;

    use super::*;

    fn hint(headers: &[(&'static str, &'static str)], error: &Value, message: &str) -> Option<u128> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        retry_after(&headers, error, message).map(|hint| hint.as_millis())
    }

    #[test]
    fn every_form_of_a_hint_is_read() {
        let none = json!({});
        let date = ("date", "Fri, 20 Nov 2026 10:00:00 GMT");
        for (headers, expected) in [
            (vec![("retry-after", "7")], Some(7_000)),
            (vec![("retry-after", "0.25")], Some(250)),
            (vec![("retry-after-ms", "174"), ("retry-after", "1")], Some(174)),
            (vec![("retry-after", "Fri, 20 Nov 2026 10:01:30 GMT"), date], Some(90_000)),
            (vec![("retry-after", "Fri, 20 Nov 2026 09:00:00 GMT"), date], Some(0)),
            (vec![("retry-after", "Fri, 20 Nov 2026 10:01:30 GMT")], None),
            (vec![("retry-after", "soon")], None),
            (vec![("retry-after", "-3")], None),
            (vec![("retry-after", "1e300")], None),
            (
                vec![("x-ratelimit-reset-requests", "12ms"), ("x-ratelimit-reset-tokens", "6m0s")],
                Some(360_000),
            ),
            (
                vec![
                    ("x-ratelimit-remaining-requests", "0"),
                    ("x-ratelimit-reset-requests", "1s"),
                    ("x-ratelimit-remaining-tokens", "5"),
                    ("x-ratelimit-reset-tokens", "6m0s"),
                ],
                Some(1_000),
            ),
            (vec![], None),
        ] {
            assert_eq!(hint(&headers, &none, ""), expected, "{headers:?}");
        }
        let info = |delay: &str| json!({"details": [{"@type": "x"}, {"retryDelay": delay}]});
        assert_eq!(hint(&[], &info("34.07s"), ""), Some(34_070));
        assert_eq!(hint(&[], &info("900ms"), ""), Some(900));
        assert_eq!(hint(&[], &none, "Limit 30000. Please try again in 174ms. Visit"), Some(174));
        assert_eq!(hint(&[], &none, "Please try again in 1m2.5s."), Some(62_500));
        let tokens = json!({"type": "tokens"});
        let both = [("x-ratelimit-reset-requests", "1h"), ("x-ratelimit-reset-tokens", "3s")];
        assert_eq!(hint(&both, &tokens, ""), Some(3_000));
    }

    #[test]
    fn what_is_no_duration_is_none() {
        for text in ["", "s", "5", "5d", "1.2.3s", "-1s", "5 s", "é"] {
            assert_eq!(go_duration(text), None, "{text}");
        }
        assert_eq!(go_duration("1h2m3.5s"), Some(Duration::from_millis(3_723_500)));
    }
}
