//! What a reviewer thinks of the change, in numbers.

use serde_json::{Map, Value};

use super::{Flaw, Thresholds, invalid, object, score};

/// `{verdict: "approve", rubric: [{criterion, score: 0..10}]}`: approved, and every score and their mean over the
/// thresholds. S4-CI3.
pub(super) fn rubric(thresholds: &Thresholds, bytes: &[u8]) -> Result<(), Flaw> {
    let rubric = object(bytes)?;
    if rubric.get("verdict").and_then(Value::as_str) != Some("approve") {
        return Err(invalid("the reviewer does not approve"));
    }
    let scores = rubric_scores(&rubric)?;
    if let Some((name, low)) = scores.iter().find(|(_, score)| *score < thresholds.each) {
        return Err(invalid(format!("`{name}` has {low:.2}; at least {:.2} is needed", thresholds.each)));
    }
    let mean = mean(&scores);
    if mean < thresholds.mean {
        return Err(invalid(format!("the mean is {mean:.2}; at least {:.2} is needed", thresholds.mean)));
    }
    Ok(())
}

/// The scores of a rubric by criterion, from 0 to 1.
///
/// # Errors
/// There are none, or one is no number from 0 to 10.
pub fn rubric_scores(rubric: &Map<String, Value>) -> Result<Vec<(String, f64)>, Flaw> {
    let entries = rubric.get("rubric").and_then(Value::as_array).filter(|entries| !entries.is_empty());
    let entries = entries.ok_or_else(|| invalid("`rubric` must have a score for each criterion"))?;
    let scored = |entry: &Value| {
        let name = entry.get("criterion").and_then(Value::as_str).unwrap_or_default().to_owned();
        let score = entry.get("score").and_then(Value::as_f64).filter(|score| (0.0..=10.0).contains(score));
        match score {
            Some(score) => Ok((name, score / 10.0)),
            None => Err(invalid(format!("the score of `{name}` must be a number from 0 to 10"))),
        }
    };
    entries.iter().map(scored).collect()
}

/// `{score, parts: {<name>: 0..1}}`: the score is the mean of its parts, and over the threshold.
pub(super) fn quality(thresholds: &Thresholds, bytes: &[u8]) -> Result<(), Flaw> {
    let quality = object(bytes)?;
    let total = score(quality.get("score"), "score")?;
    let parts = quality.get("parts").and_then(Value::as_object).filter(|parts| !parts.is_empty());
    let parts = parts.ok_or_else(|| invalid("`parts` must say what the score is made of"))?;
    let parts: Vec<(String, f64)> = parts
        .iter()
        .map(|(name, value)| Ok((name.clone(), score(Some(value), name)?)))
        .collect::<Result<_, Flaw>>()?;
    if (mean(&parts) - total).abs() > 0.01 {
        return Err(invalid("the score is not the mean of its parts"));
    }
    if total < thresholds.quality {
        return Err(invalid(format!(
            "the score is {total:.2}; at least {:.2} is needed",
            thresholds.quality
        )));
    }
    Ok(())
}

/// The mean of scores; 0 of none.
#[expect(clippy::cast_precision_loss, reason = "a handful of scores")]
#[must_use]
pub fn mean(scores: &[(String, f64)]) -> f64 {
    scores.iter().map(|(_, score)| score).sum::<f64>() / scores.len().max(1) as f64
}
