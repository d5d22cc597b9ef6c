//! What was run, and what came of it.

use serde_json::Value;

use super::{Flaw, Thresholds, count, invalid, object, score};

/// `{total, passed, failed, tests: [...]}`: nothing failed, and enough was run. S4-CI3, S4-VER3.
pub(super) fn test_results(thresholds: &Thresholds, bytes: &[u8]) -> Result<(), Flaw> {
    let results = object(bytes)?;
    let (total, passed) = (count(&results, "total")?, count(&results, "passed")?);
    let failed = count(&results, "failed")?;
    if failed > 0 {
        return Err(invalid(format!("{failed} of {total} tests failed")));
    }
    if total != passed {
        return Err(invalid(format!("{total} tests were run and {passed} passed")));
    }
    if total < thresholds.tests {
        return Err(invalid(format!("{total} tests were run; at least {} must be", thresholds.tests)));
    }
    Ok(())
}

/// No line of it reports an error. S4-CI3.
pub(super) fn build_log(bytes: &[u8]) -> Result<(), Flaw> {
    match error_line(&String::from_utf8_lossy(bytes)) {
        None => Ok(()),
        Some((number, line)) => {
            let line: String = line.trim().chars().filter(|c| !c.is_control()).take(200).collect();
            Err(invalid(format!("line {number} reports an error: {line}")))
        }
    }
}

/// The first line that reports an error as compilers do: the word `error` and a colon, or `error[E0382]:`.
#[must_use]
pub fn error_line(text: &str) -> Option<(usize, &str)> {
    text.lines().enumerate().find(|(_, line)| reports_error(line)).map(|(index, line)| (index + 1, line))
}

fn reports_error(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    lower.match_indices("error").any(|(at, word)| {
        let before = lower.get(..at).and_then(|start| start.chars().next_back());
        let after = lower.get(at + word.len()..).unwrap_or_default();
        let is_word = before.is_none_or(|c| c.is_whitespace() || matches!(c, ':' | '[' | '('));
        let is_coded = after
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
            .is_some_and(|(code, rest)| rest.starts_with(':') && code.chars().all(char::is_alphanumeric));
        is_word && (after.starts_with(':') || is_coded)
    })
}

/// `{measured: true, lines, covered}`, or `{measured: false, reason}`.
pub(super) fn coverage(thresholds: &Thresholds, bytes: &[u8]) -> Result<(), Flaw> {
    let report = object(bytes)?;
    match report.get("measured").and_then(Value::as_bool) {
        None => Err(invalid("`measured` must say whether coverage was measured")),
        Some(false) => match report.get("reason").and_then(Value::as_str).map(str::trim) {
            Some(reason) if !reason.is_empty() => Ok(()),
            _ => Err(invalid("coverage was not measured, and no `reason` says why")),
        },
        Some(true) => {
            let (lines, covered) = (count(&report, "lines")?, count(&report, "covered")?);
            if covered > lines {
                return Err(invalid(format!("{covered} of {lines} lines cannot be covered")));
            }
            #[expect(clippy::cast_precision_loss, reason = "a share of lines; their number is below 2^53")]
            let share = if lines == 0 { 1.0 } else { covered as f64 / lines as f64 };
            score(Some(&Value::from(share)), "coverage")?;
            if share < thresholds.coverage {
                let wanted = thresholds.coverage;
                return Err(invalid(format!("{share:.2} of the lines are covered; {wanted:.2} must be")));
            }
            Ok(())
        }
    }
}

/// `{status: "live", sha}`: the release reports the commit that was merged, or a later one.
pub(super) fn deployment(bytes: &[u8]) -> Result<(), Flaw> {
    let status = object(bytes)?;
    let field = |name: &str| status.get(name).and_then(Value::as_str).unwrap_or_default();
    if field("status") != "live" {
        return Err(invalid(format!("the release is `{}` and must be `live`", field("status"))));
    }
    let sha = field("sha");
    if sha.len() < 40 || !sha.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(invalid("`sha` must be a full commit"));
    }
    Ok(())
}
