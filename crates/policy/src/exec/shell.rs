//! The simple commands of a shell line: enough of the shell's grammar to find the programs that a line starts.

use std::fmt;

/// A program and its arguments, without redirections and assignments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Simple {
    words: Vec<Word>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Word {
    text: String,
    /// Part of it is only known when it runs.
    dynamic: bool,
}

impl Simple {
    /// The program's name without its folder, where it is known.
    pub(super) fn program(&self) -> Option<&str> {
        let first = self.words.first().filter(|word| !word.dynamic)?;
        first.text.rsplit('/').next()
    }

    pub(super) fn arguments(&self) -> impl Iterator<Item = &str> {
        self.words.iter().skip(1).map(|word| word.text.as_str())
    }

    pub(super) fn is_dynamic(&self) -> bool {
        self.words.first().is_some_and(|word| word.dynamic)
    }
}

impl fmt::Display for Simple {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.words.iter().map(|word| word.text.as_str()).collect();
        formatter.write_str(&words.join(" "))
    }
}

/// Every simple command of a line: those in lists, pipes and substitutions, and those that another program is
/// told to start.
pub(super) fn simple_commands(line: &str) -> Vec<Simple> {
    let mut found = Vec::new();
    collect(line, 0, &mut found);
    found
}

/// Substitutions and shells in shells, so deep and no deeper.
const MAX_DEPTH: usize = 12;

fn collect(line: &str, depth: usize, found: &mut Vec<Simple>) {
    if depth > MAX_DEPTH {
        // Nobody writes this by hand: it is treated as a program with no name.
        found.push(Simple { words: vec![Word { text: line.to_owned(), dynamic: true }] });
        return;
    }
    let mut reader = Reader { rest: line.chars().collect(), at: 0, inner: Vec::new(), heredocs: Vec::new() };
    while let Some(words) = reader.command() {
        add(words, depth, found);
    }
    for inner in std::mem::take(&mut reader.inner) {
        collect(&inner, depth + 1, found);
    }
}

fn add(mut words: Vec<Word>, depth: usize, found: &mut Vec<Simple>) {
    if depth > MAX_DEPTH {
        found.push(Simple { words: vec![Word { text: String::new(), dynamic: true }] });
        return;
    }
    let is_before =
        |word: &Word| !word.dynamic && KEYWORDS.contains(&word.text.as_str()) || is_assignment(word);
    let start = words.iter().position(|word| !is_before(word)).unwrap_or(words.len());
    words.drain(..start);
    if words.is_empty() {
        return;
    }
    let simple = Simple { words };
    let program = simple.program().unwrap_or_default().to_owned();
    let arguments: Vec<Word> = simple.words.iter().skip(1).cloned().collect();
    found.push(simple);
    if SHELLS.contains(&program.as_str()) {
        let script = arguments.iter().position(|word| word.text.starts_with('-') && word.text.ends_with('c'));
        if let Some(script) = script.and_then(|at| arguments.get(at + 1)) {
            collect(&script.text, depth + 1, found);
        }
    } else if program == "eval" {
        let text: Vec<&str> = arguments.iter().map(|word| word.text.as_str()).collect();
        collect(&text.join(" "), depth + 1, found);
    } else if program == "find" {
        let is_exec = |word: &Word| ["-exec", "-execdir", "-ok", "-okdir"].contains(&word.text.as_str());
        if let Some(at) = arguments.iter().position(is_exec) {
            add(arguments.into_iter().skip(at + 1).collect(), depth + 1, found);
        }
    } else if STARTERS.contains(&program.as_str()) {
        // Options of the starter, their values as far as they are numbers or durations, and assignments.
        let is_own = |word: &Word| {
            word.text.starts_with('-')
                || word.text.starts_with(|c: char| c.is_ascii_digit())
                || is_assignment(word)
        };
        let start = arguments.iter().position(|word| !is_own(word)).unwrap_or(arguments.len());
        add(arguments.into_iter().skip(start).collect(), depth + 1, found);
    }
}

const KEYWORDS: [&str; 12] =
    ["if", "then", "else", "elif", "fi", "do", "done", "while", "until", "!", "{", "}"];
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "zsh", "ksh", "ash"];
const STARTERS: [&str; 16] = [
    "env", "nohup", "nice", "ionice", "time", "timeout", "exec", "command", "builtin", "xargs", "stdbuf",
    "setsid", "sudo", "doas", "chrt", "busybox",
];

fn is_assignment(word: &Word) -> bool {
    word.text.split_once('=').is_some_and(|(name, _)| {
        let mut letters = name.chars();
        letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

struct Reader {
    rest: Vec<char>,
    at: usize,
    /// Command lines inside substitutions.
    inner: Vec<String>,
    /// Delimiters of here-documents that begin at the next line, and whether they are taken literally.
    heredocs: Vec<(String, bool)>,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += usize::from(next.is_some());
        next
    }

    fn take(&mut self, wanted: char) -> bool {
        let is_next = self.peek() == Some(wanted);
        self.at += usize::from(is_next);
        is_next
    }

    /// The words up to the next separator; `None` at the end.
    fn command(&mut self) -> Option<Vec<Word>> {
        self.peek()?;
        let mut words = Vec::new();
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\r' => {
                    self.next();
                }
                '\n' => {
                    self.next();
                    self.skip_heredocs();
                    break;
                }
                '#' => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.next();
                    }
                }
                '&' if self.rest.get(self.at + 1) == Some(&'>') => {
                    self.next();
                    self.redirection();
                }
                ';' | '|' | '&' | '(' | ')' => {
                    self.next();
                    break;
                }
                '<' | '>' => self.redirection(),
                _ => {
                    let word = self.word();
                    // A number right before a redirection is its descriptor.
                    let is_descriptor = word.text.chars().all(|c| c.is_ascii_digit())
                        && matches!(self.peek(), Some('<' | '>'));
                    if !is_descriptor {
                        words.push(word);
                    }
                }
            }
        }
        Some(words)
    }

    /// The operator and the word after it.
    fn redirection(&mut self) {
        let mut operator = String::new();
        while let Some(c @ ('<' | '>' | '&' | '|' | '-')) = self.peek() {
            if c == '-' && operator != "<<" {
                break;
            }
            operator.push(c);
            self.next();
        }
        if operator == "<" || operator == ">" {
            // Process substitution: a list of its own.
            if self.peek() == Some('(') {
                return;
            }
        }
        while self.take(' ') || self.take('\t') {}
        let begins = self.at;
        let target = self.word();
        if operator.starts_with("<<") && !operator.starts_with("<<<") {
            let written: String = self.rest.get(begins..self.at).unwrap_or_default().iter().collect();
            self.heredocs.push((target.text, written.contains(['\'', '"', '\\'])));
        }
    }

    fn skip_heredocs(&mut self) {
        for (delimiter, literal) in std::mem::take(&mut self.heredocs) {
            let mut body = String::new();
            while self.peek().is_some() {
                let mut line = String::new();
                while let Some(c) = self.next().filter(|c| *c != '\n') {
                    line.push(c);
                }
                if line.trim_start_matches('\t') == delimiter {
                    break;
                }
                body.push_str(&line);
                body.push('\n');
            }
            if !literal {
                self.substitutions_of(&body);
            }
        }
    }

    /// What stands between double quotes, or in a here-document that is not literal.
    fn substitutions_of(&mut self, text: &str) {
        let mut inside =
            Reader { rest: text.chars().collect(), at: 0, inner: Vec::new(), heredocs: Vec::new() };
        while let Some(c) = inside.next() {
            match c {
                '\\' => drop(inside.next()),
                '$' => drop(inside.dollar()),
                '`' => inside.backquoted(),
                _ => {}
            }
        }
        self.inner.append(&mut inside.inner);
    }

    fn word(&mut self) -> Word {
        let mut word = Word::default();
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' | '|' | '&' | '(' | ')' | '<' | '>' => break,
                '\'' => {
                    self.next();
                    while let Some(c) = self.next().filter(|c| *c != '\'') {
                        word.text.push(c);
                    }
                }
                '"' => {
                    self.next();
                    self.quoted(&mut word);
                }
                '\\' => {
                    self.next();
                    // A line that is continued.
                    if let Some(c) = self.next().filter(|c| *c != '\n') {
                        word.text.push(c);
                    }
                }
                '$' => {
                    self.next();
                    word.dynamic |= self.dollar();
                    word.text.push('$');
                }
                '`' => {
                    self.next();
                    self.backquoted();
                    word.dynamic = true;
                    word.text.push('`');
                }
                c => {
                    self.next();
                    word.text.push(c);
                }
            }
        }
        word
    }

    fn quoted(&mut self, word: &mut Word) {
        while let Some(c) = self.next() {
            match c {
                '"' => return,
                '\\' => word.text.extend(self.next()),
                '$' => {
                    word.dynamic |= self.dollar();
                    word.text.push('$');
                }
                '`' => {
                    self.backquoted();
                    word.dynamic = true;
                    word.text.push('`');
                }
                c => word.text.push(c),
            }
        }
    }

    /// After a dollar sign. Whether it was an expansion.
    fn dollar(&mut self) -> bool {
        match self.peek() {
            Some('(') => {
                self.next();
                let inner = self.balanced('(', ')');
                self.inner.push(inner);
                true
            }
            Some('{') => {
                self.next();
                let inner = self.balanced('{', '}');
                self.substitutions_of(&inner);
                true
            }
            Some(c)
                if c.is_ascii_alphanumeric()
                    || matches!(c, '_' | '@' | '*' | '#' | '?' | '$' | '!' | '\'') =>
            {
                while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
                    self.next();
                }
                true
            }
            _ => false,
        }
    }

    fn backquoted(&mut self) {
        let mut inner = String::new();
        while let Some(c) = self.next() {
            match c {
                '`' => break,
                '\\' => inner.extend(self.next()),
                c => inner.push(c),
            }
        }
        self.inner.push(inner);
    }

    /// Up to the bracket that closes the one just read; brackets in quotes do not count.
    fn balanced(&mut self, open: char, close: char) -> String {
        let (mut text, mut depth, mut quote) = (String::new(), 1_usize, None);
        while let Some(c) = self.next() {
            match (c, quote) {
                ('\\', Some('"') | None) => {
                    text.push(c);
                    text.extend(self.next());
                    continue;
                }
                (c @ ('\'' | '"'), None) => quote = Some(c),
                (c, Some(begun)) if c == begun => quote = None,
                (c, None) if c == open => depth += 1,
                (c, None) if c == close => {
                    depth -= 1;
                    if depth == 0 {
                        return text;
                    }
                }
                _ => {}
            }
            text.push(c);
        }
        text
    }
}
