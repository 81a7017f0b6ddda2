//! Patterns over dotted paths, and the nearest names for an error message.
//!
//! `*` stands for any part of one name, `**` for any number of names, `[0-12]` for a number in that
//! range, `[abc]` (or `[a-c]`, `[!a-c]`) for one character, `{a,b}` for either text. A pattern *covers*
//! the places that it matches and everything below them. Matching keeps the set of positions that can be
//! reached, so it takes time proportional to pattern times path whatever the stars.

use crate::error::{Error, Result};

/// A compiled pattern.
///
/// ```
/// use luxon::tree::Pattern;
/// assert!(Pattern::new("encoder.**.bias")?.covers("encoder.layer_1.norm.bias"));
/// assert!(Pattern::new("layer_[1-3].{weight,bias}")?.covers("layer_2.bias"));
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    alternatives: Vec<Vec<Component>>,
}

#[derive(Clone, Debug)]
enum Component {
    AnyDepth,
    Name(Vec<Token>),
}

#[derive(Clone, Debug)]
enum Token {
    Text(char),
    Star,
    Range(u64, u64),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

/// More alternatives than this are refused: they come from braces multiplied.
const MOST_ALTERNATIVES: usize = 1024;

impl Pattern {
    /// Compiles a pattern.
    ///
    /// ```
    /// use luxon::tree::Pattern;
    /// assert!(Pattern::new("layer_*.weight").is_ok() && Pattern::new("layer_[1-").is_err());
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for brackets or braces that do not close, and for an empty component.
    pub fn new(text: &str) -> Result<Pattern> {
        let mut alternatives = Vec::new();
        for expanded in expand(text)? {
            let components = expanded.split('.').map(|name| match name {
                "" => Err(Error::Value(format!("pattern {text:?}: a name is empty"))),
                "**" => Ok(Component::AnyDepth),
                _ => Ok(Component::Name(tokens(name, text)?)),
            });
            alternatives.push(components.collect::<Result<_>>()?);
        }
        Ok(Pattern { text: text.to_string(), alternatives })
    }

    /// The pattern as it was written.
    ///
    /// ```
    /// use luxon::tree::Pattern;
    /// assert_eq!(Pattern::new("*.bias")?.text(), "*.bias");
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the pattern stands for exactly this path.
    ///
    /// ```
    /// use luxon::tree::Pattern;
    /// let pattern = Pattern::new("layer_*")?;
    /// assert!(pattern.matches("layer_1") && !pattern.matches("layer_1.bias"));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn matches(&self, path: &str) -> bool {
        self.text == path || self.reached(path).last() == Some(&true)
    }

    /// Whether the pattern stands for this path or one above it.
    ///
    /// ```
    /// use luxon::tree::Pattern;
    /// let pattern = Pattern::new("layer_*")?;
    /// assert!(pattern.covers("layer_1") && pattern.covers("layer_1.bias"));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn covers(&self, path: &str) -> bool {
        let below = path.strip_prefix(&self.text).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        below || self.reached(path)[1..].contains(&true)
    }

    /// For each number of leading names whether the pattern stands for just those.
    fn reached(&self, path: &str) -> Vec<bool> {
        let names: Vec<&str> = path.split('.').collect();
        let mut any = vec![false; names.len() + 1];
        for components in &self.alternatives {
            let mut open = vec![false; names.len() + 1];
            open[0] = true;
            for component in components {
                open = match component {
                    Component::AnyDepth => spread(&open),
                    Component::Name(tokens) => {
                        let mut next = vec![false; open.len()];
                        for (position, name) in names.iter().enumerate() {
                            next[position + 1] = open[position] && name_matches(tokens, name);
                        }
                        next
                    }
                };
            }
            any.iter_mut().zip(open).for_each(|(any, open)| *any |= open);
        }
        any
    }
}

/// Every position from the first open one on.
fn spread(open: &[bool]) -> Vec<bool> {
    open.iter()
        .scan(false, |seen, &open| {
            *seen |= open;
            Some(*seen)
        })
        .collect()
}

fn name_matches(tokens: &[Token], name: &str) -> bool {
    let characters: Vec<char> = name.chars().collect();
    let mut open = vec![false; characters.len() + 1];
    open[0] = true;
    for token in tokens {
        open = match token {
            Token::Star => spread(&open),
            Token::Range(low, high) => numbers(&characters, &open, *low, *high),
            Token::Text(_) | Token::Class { .. } => {
                let mut next = vec![false; open.len()];
                for (position, &character) in characters.iter().enumerate() {
                    next[position + 1] = open[position] && token.takes(character);
                }
                next
            }
        };
    }
    open[characters.len()]
}

/// Positions after a whole number between `low` and `high` that starts at an open position.
fn numbers(characters: &[char], open: &[bool], low: u64, high: u64) -> Vec<bool> {
    let mut next = vec![false; open.len()];
    for start in (0..characters.len()).filter(|&start| open[start]) {
        let mut number = 0u64;
        for (offset, digit) in characters[start..].iter().map_while(|character| character.to_digit(10)).enumerate() {
            number = number.saturating_mul(10).saturating_add(u64::from(digit));
            next[start + offset + 1] |= (low..=high).contains(&number);
        }
    }
    next
}

impl Token {
    fn takes(&self, character: char) -> bool {
        match self {
            Token::Text(expected) => *expected == character,
            Token::Class { negated, ranges } => {
                ranges.iter().any(|&(low, high)| (low..=high).contains(&character)) != *negated
            }
            Token::Star | Token::Range(..) => false,
        }
    }
}

fn tokens(name: &str, pattern: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        tokens.push(match first {
            '*' => Token::Star,
            '[' => {
                let Some(end) = rest.find(']').filter(|&end| end > 0) else {
                    return Err(Error::Value(format!("pattern {pattern:?}: a bracket does not close or is empty")));
                };
                let inside = &rest[..end];
                rest = &rest[end + 1..];
                bracket(inside)
            }
            other => Token::Text(other),
        });
    }
    Ok(tokens)
}

fn bracket(inside: &str) -> Token {
    if let Some((low, high)) = inside.split_once('-')
        && let (Ok(low), Ok(high)) = (low.parse(), high.parse())
    {
        return Token::Range(low, high);
    }
    let (negated, inside) = inside.strip_prefix('!').map_or((false, inside), |inside| (true, inside));
    let characters: Vec<char> = inside.chars().collect();
    let mut ranges = Vec::new();
    let mut position = 0;
    while position < characters.len() {
        if characters.get(position + 1) == Some(&'-') && position + 2 < characters.len() {
            ranges.push((characters[position], characters[position + 2]));
            position += 3;
        } else {
            ranges.push((characters[position], characters[position]));
            position += 1;
        }
    }
    Token::Class { negated, ranges }
}

/// The texts without braces that a text with braces stands for.
fn expand(text: &str) -> Result<Vec<String>> {
    let unclosed = || Error::Value(format!("pattern {text:?}: a brace does not close"));
    let Some(start) = text.find('{') else {
        return if text.contains('}') { Err(unclosed()) } else { Ok(vec![text.to_string()]) };
    };
    let (mut depth, mut from, mut options, mut end) = (0usize, start + 1, Vec::new(), None);
    for (position, character) in text.char_indices().skip_while(|&(position, _)| position < start) {
        match character {
            '{' => depth += 1,
            ',' if depth == 1 => {
                options.push(&text[from..position]);
                from = position + 1;
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    options.push(&text[from..position]);
                    end = Some(position + 1);
                    break;
                }
            }
            _ => {}
        }
    }
    let end = end.ok_or_else(unclosed)?;
    let mut all = Vec::new();
    for option in options {
        all.extend(expand(&format!("{}{option}{}", &text[..start], &text[end..]))?);
        if all.len() > MOST_ALTERNATIVES {
            return Err(Error::Value(format!("pattern {text:?}: more than {MOST_ALTERNATIVES} alternatives")));
        }
    }
    Ok(all)
}

/// An error message lists no more candidates than this.
const SHOWN: usize = 5;

/// The candidates most like `name`, best first, at most `count` of them; those that have nothing in
/// common with it are left out unless nothing else is there.
#[doc(hidden)]
pub fn nearest(name: &str, candidates: impl IntoIterator<Item = String>, count: usize) -> Vec<String> {
    let last = |path: &str| path.rsplit('.').next().map(str::to_string).unwrap_or_default();
    let (length, last_length) = (name.chars().count().max(1), last(name).chars().count().max(1));
    let mut scored: Vec<(usize, String)> = candidates
        .into_iter()
        .map(|candidate| {
            let whole = edit_distance(name, &candidate) * 100 / length;
            // A path whose last name is right counts as near, however much stands before it.
            let tail = edit_distance(&last(name), &last(&candidate)) * 100 / last_length + 1;
            (whole.min(tail), candidate)
        })
        .collect();
    scored.sort_by_key(|(percent, _)| *percent);
    let near = scored.iter().filter(|(percent, _)| *percent <= 50).count();
    scored.truncate(if near > 0 { near.min(count) } else { count });
    scored.into_iter().map(|(_, candidate)| candidate).collect()
}

/// The nearest candidates as the end of an error message.
#[doc(hidden)]
pub fn near(name: &str, candidates: impl IntoIterator<Item = String>) -> String {
    let found = nearest(name, candidates, SHOWN);
    if found.is_empty() { "the tree is empty".into() } else { format!("nearest: {}", found.join(", ")) }
}

/// Insertions, deletions and substitutions (Levenshtein) that turn one text into the other.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, character) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (position, &other) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(character != other);
            diagonal = row[position + 1];
            row[position + 1] = substituted.min(row[position] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn covers(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern).unwrap().covers(path)
    }

    #[test]
    fn patterns_stand_for_paths_and_what_is_below() {
        assert!(covers("encoder", "encoder.layer_1.weight"));
        assert!(!covers("encoder", "encoders.weight"));
        assert!(covers("*.weight", "layer_1.weight") && !covers("*.weight", "a.b.weight"));
        assert!(covers("**.weight", "a.b.weight") && covers("**.weight", "weight"));
        assert!(covers("a.**", "a.b.c") && covers("a.**.c", "a.c"));
        assert!(covers("layer_[1-12].bias", "layer_10.bias") && !covers("layer_[1-12].bias", "layer_13.bias"));
        assert!(covers("x[0-3]", "x2") && !covers("x[0-3]", "x4") && covers("[!ab]c", "cc") && !covers("[!ab]c", "ac"));
        assert!(covers("{encoder,head.layer_1}.{weight,bias}", "head.layer_1.bias"));
        assert!(covers("layer_*", "layer_7.weight") && covers("*_*", "layer_7"));
        for bad in ["a..b", "{a", "a}", "x[", "x[]", ""] {
            assert!(Pattern::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let stars = "*a".repeat(40) + "b";
        assert!(!covers(&stars, &"a".repeat(200)));
        assert!(Pattern::new(&"{a,b}".repeat(12)).is_err());
    }

    #[test]
    fn near_names_come_first() {
        let names = ["layer_1.weight", "layer_1.bias", "head.scale"].map(String::from);
        assert_eq!(nearest("layer_1.wieght", names.clone(), 1), ["layer_1.weight"]);
        assert_eq!(nearest("weight", names.clone(), 2)[0], "layer_1.weight");
        assert_eq!(nearest("qqqqqqqqqqqqqqqq", names, 5).len(), 3);
    }
}
