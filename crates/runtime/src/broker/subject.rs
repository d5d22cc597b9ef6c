//! Subject patterns, as NATS reads them: `*` stands for one token, a last `>` for one or more.

/// Whether `subject` falls under `pattern`.
pub(crate) fn matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in pattern.split('.') {
        let Some(token) = tokens.next() else { return false };
        match wanted {
            ">" => return true,
            "*" => {}
            literal if literal == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// Whether `pattern` can name more than one subject.
pub(crate) fn is_pattern(pattern: &str) -> bool {
    pattern.split('.').any(|token| token == "*" || token == ">")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_read_as_in_nats() {
        assert!(matches("millrace.worker.0.>", "millrace.worker.0.VTID-1"));
        assert!(matches("millrace.blobs.abc.*", "millrace.blobs.abc.0"));
        assert!(matches("a.b", "a.b"));
        assert!(!matches("a.>", "a"));
        assert!(!matches("a.*", "a.b.c"));
        assert!(!matches("a.b", "a.b.c"));
        assert!(!matches("a.b.c", "a.b"));
        assert!(is_pattern("a.*.c") && is_pattern("a.>") && !is_pattern("a.b-c"));
    }
}
