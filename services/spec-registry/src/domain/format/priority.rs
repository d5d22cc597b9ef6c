//! The key `priority`: `low`, `normal`, `high`, `urgent`, or `P3` to `P0`.

/// How soon a change is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// When nothing else waits.
    Low,
    /// As most.
    #[default]
    Normal,
    /// Before most.
    High,
    /// Before all others.
    Urgent,
}

/// The priority that a value names; its first word counts, as in `P1 (checkout is down)`.
pub(crate) fn read(value: &str) -> Option<Priority> {
    let word = value.trim().split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    match word.to_lowercase().as_str() {
        "low" | "p3" => Some(Priority::Low),
        "normal" | "p2" => Some(Priority::Normal),
        "high" | "p1" => Some(Priority::High),
        "urgent" | "p0" => Some(Priority::Urgent),
        _ => None,
    }
}
