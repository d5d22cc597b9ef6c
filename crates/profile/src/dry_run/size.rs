//! How many lines a change adds and removes: the smallest number, as `git diff --numstat --minimal` counts.

use std::collections::HashMap;

/// Lines added and removed together up to which the smallest number is sought; beyond it, whole blocks count.
const MAX_DISTANCE: usize = 4_000;
/// Bytes in which git looks for a NUL.
const LOOKED_AT: usize = 8_000;

/// Lines added and removed between two texts; none where one of them is no text.
pub(super) fn of(before: &[u8], after: &[u8]) -> (u64, u64) {
    if is_binary(before) || is_binary(after) {
        return (0, 0);
    }
    let mut numbers = HashMap::new();
    let before = numbered(before, &mut numbers);
    let after = numbered(after, &mut numbers);
    let start = before.iter().zip(&after).take_while(|(one, other)| one == other).count();
    let (before, after) = (before.get(start..).unwrap_or_default(), after.get(start..).unwrap_or_default());
    let end = before.iter().rev().zip(after.iter().rev()).take_while(|(one, other)| one == other).count();
    let before = before.get(..before.len() - end).unwrap_or_default();
    let after = after.get(..after.len() - end).unwrap_or_default();
    let distance = distance(before, after).unwrap_or(before.len() + after.len());
    // added - removed = after - before, and added + removed = distance.
    let added = (distance + after.len()).saturating_sub(before.len()) / 2;
    (added as u64, (distance - added) as u64)
}

fn is_binary(text: &[u8]) -> bool {
    text.iter().take(LOOKED_AT).any(|byte| *byte == 0)
}

/// Each line as a number, the same for the same line.
fn numbered<'a>(text: &'a [u8], numbers: &mut HashMap<&'a [u8], usize>) -> Vec<usize> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines
        .map(|line| {
            let next = numbers.len();
            *numbers.entry(line).or_insert(next)
        })
        .collect()
}

/// The length of the shortest script of single additions and removals: E. W. Myers, "An O(ND) Difference Algorithm
/// and Its Variations", 1986.
fn distance(before: &[usize], after: &[usize]) -> Option<usize> {
    let most = (before.len() + after.len()).min(MAX_DISTANCE);
    // How far each diagonal reaches in `before`; the middle is the diagonal 0.
    let mut reach = vec![0_usize; 2 * most + 3];
    let middle = most + 1;
    for steps in 0..=most {
        for offset in (0..=2 * steps).step_by(2) {
            let diagonal = middle + offset - steps;
            let (left, right) = (*reach.get(diagonal - 1)?, *reach.get(diagonal + 1)?);
            let comes_down = offset == 0 || (offset != 2 * steps && left < right);
            let mut x = if comes_down { right } else { left + 1 };
            let Some(mut y) = (x + middle).checked_sub(diagonal) else { continue };
            while let (Some(one), Some(other)) = (before.get(x), after.get(y))
                && one == other
            {
                (x, y) = (x + 1, y + 1);
            }
            *reach.get_mut(diagonal)? = x;
            if x >= before.len() && y >= after.len() {
                return Some(steps);
            }
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_as_git_counts_them() {
        for (before, after, expected) in [
            ("", "", (0, 0)),
            ("", "a\nb\n", (2, 0)),
            ("a\nb\n", "", (0, 2)),
            ("a\n", "a", (1, 1)),
            ("a\nb\nc\n", "a\nx\nc\n", (1, 1)),
            ("a\nb\nc\nd\n", "b\nc\nd\na\n", (1, 1)),
            ("a\nb\nc\na\nb\nb\na\n", "c\nb\na\nb\na\nc\n", (2, 3)),
            ("a\0\n", "b\nc\n", (0, 0)),
        ] {
            assert_eq!(of(before.as_bytes(), after.as_bytes()), expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn what_differs_altogether_is_bounded() {
        let text = |from: usize| -> String { (from..from + 6_000).map(|line| format!("{line}\n")).collect() };
        assert_eq!(of(text(0).as_bytes(), text(10_000).as_bytes()), (6_000, 6_000));
    }
}
