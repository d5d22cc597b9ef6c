//! Single characters and escape sequences that are not seen.

use std::iter::Peekable;
use std::str::Chars;

use super::{Hidden, Removal};

const ESCAPE: char = '\u{1b}';
const BELL: char = '\u{7}';

/// `text` without them; neighbours of one kind are told as one.
pub(super) fn strip(text: &str, removed: &mut Vec<Removal>) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut line = 1;
    let mut is_run = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let Some(kind) = hidden(character, &kept, characters.peek()) else {
            kept.push(character);
            line += usize::from(character == '\n');
            is_run = false;
            continue;
        };
        let length = 1 + if kind == Hidden::Escape { skip_escape(character, &mut characters) } else { 0 };
        match removed.last_mut() {
            Some(last) if is_run && last.kind == kind => last.characters += length,
            _ => removed.push(Removal { kind, line, characters: length }),
        }
        is_run = true;
        // In a terminal what follows would overwrite the line.
        if character == '\r' {
            kept.push('\n');
            line += 1;
            is_run = false;
        }
    }
    kept
}

fn hidden(character: char, kept: &str, next: Option<&char>) -> Option<Hidden> {
    let kind = match character {
        '\n' | '\t' => return None,
        '\r' if next == Some(&'\n') => return None,
        ESCAPE | '\u{90}' | '\u{98}' | '\u{9b}' | '\u{9d}'..='\u{9f}' => Hidden::Escape,
        // One selector after something that is seen chooses its picture; more of them, or one after nothing, spell.
        '\u{fe00}'..='\u{fe0f}' if kept.chars().next_back().is_some_and(varies) => return None,
        '\u{ad}'
        | '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200d}'
        | '\u{2060}'..='\u{2065}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{e0100}'..='\u{e01ef}' => Hidden::ZeroWidth,
        '\u{61c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{206f}' => Hidden::Direction,
        '\u{e0000}'..='\u{e007f}' => Hidden::Tag,
        other if other.is_control() => Hidden::Control,
        _ => return None,
    };
    Some(kind)
}

/// Whether a variation selector may follow: a symbol, not a letter, blank or another selector.
fn varies(character: char) -> bool {
    character.is_ascii_digit()
        || matches!(character, '#' | '*' | '\u{a9}' | '\u{ae}')
        || (character >= '\u{2000}'
            && !('\u{fe00}'..='\u{fe0f}').contains(&character)
            && !character.is_whitespace())
}

/// Goes past an escape sequence (ECMA-48) and says how many characters it has after the first.
fn skip_escape(first: char, characters: &mut Peekable<Chars<'_>>) -> usize {
    let (introducer, mut length) = match first {
        ESCAPE => match characters.next_if(|c| ('\u{20}'..='\u{7e}').contains(c)) {
            Some(second) => (second, 1),
            None => return 0,
        },
        '\u{9b}' => ('[', 0),
        _ => (']', 0),
    };
    match introducer {
        '[' => {
            while characters.next_if(|c| ('\u{20}'..='\u{3f}').contains(c)).is_some() {
                length += 1;
            }
            length + usize::from(characters.next_if(|c| ('\u{40}'..='\u{7e}').contains(c)).is_some())
        }
        // A string: to the bell, to the string terminator, or to the end of the line, where it would be broken.
        ']' | 'P' | 'X' | '^' | '_' => {
            while let Some(character) = characters.next_if(|c| *c != '\n') {
                length += 1;
                if character == BELL || character == '\u{9c}' {
                    break;
                }
                if character == ESCAPE {
                    length += usize::from(characters.next_if_eq(&'\\').is_some());
                    break;
                }
            }
            length
        }
        ' '..='/' => {
            length + usize::from(characters.next_if(|c| ('\u{30}'..='\u{7e}').contains(c)).is_some())
        }
        _ => length,
    }
}
