//! The grammar of filters (RFC 7644 §3.4.2.2 figure 1) and of the paths of PATCH operations (§3.5.2 figure 7).

use serde_json::Number;

use super::{Expression, Literal, MAX_FILTER_DEPTH, MAX_FILTER_TERMS, Operator};
use crate::error::{Error, quote};
use crate::quirks;

/// Scope of the names: the attributes of a resource, or the sub-attributes of one element.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Inside {
    Resource,
    Element,
}

/// Parses filters and the paths of PATCH operations, which share the grammar.
pub(crate) struct Parser<'t> {
    text: &'t str,
    rest: &'t str,
    terms: usize,
}

impl<'t> Parser<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Parser {
            text,
            rest: text,
            terms: 0,
        }
    }

    /// Expects the end of the text.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        self.skip_blanks();
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.expected("and, or, or the end"))
    }

    fn expected(&self, what: &str) -> Error {
        let at = self.text.len() - self.rest.len() + 1;
        if self.rest.is_empty() {
            return Error::invalid_filter(format_args!("expected {what} at the end"));
        }
        Error::invalid_filter(format_args!(
            "expected {what} at byte {at}, found {}",
            quote(self.rest)
        ))
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    pub(crate) fn at(&self, c: char) -> bool {
        self.rest.starts_with(c)
    }

    pub(crate) fn eat(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Returns the longest run of characters that a path or keyword can have, and the rest. Names
    /// consist of letters, digits, `-`, `_` and `$` (RFC 7643 §2.1); URIs have more characters.
    fn peek_word(&self) -> (&'t str, &'t str) {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-_$.:%+~/".contains(c);
        let end = self
            .rest
            .find(|c: char| !is_part(c))
            .unwrap_or(self.rest.len());
        self.rest.split_at_checked(end).unwrap_or((self.rest, ""))
    }

    /// Consumes the next word if it is this keyword, in any case.
    fn eat_keyword(&mut self, keyword: &str) -> bool {
        self.skip_blanks();
        let (word, rest) = self.peek_word();
        if word.eq_ignore_ascii_case(keyword) {
            self.rest = rest;
            return true;
        }
        false
    }

    /// `[URI ":"] name ["." sub]`.
    pub(crate) fn path(&mut self) -> Result<&'t str, Error> {
        self.skip_blanks();
        let (word, rest) = self.peek_word();
        if !word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '$') {
            return Err(self.expected("an attribute"));
        }
        self.rest = rest;
        Ok(word)
    }

    /// `a or b or c`: `or` has the lowest precedence (F2).
    pub(super) fn any_of(&mut self, inside: Inside, depth: usize) -> Result<Expression, Error> {
        let first = self.all_of(inside, depth)?;
        let mut terms = vec![first];
        while self.eat_keyword("or") {
            terms.push(self.all_of(inside, depth)?);
        }
        Ok(one_or(terms, Expression::Or))
    }

    fn all_of(&mut self, inside: Inside, depth: usize) -> Result<Expression, Error> {
        let first = self.term(inside, depth)?;
        let mut terms = vec![first];
        while self.eat_keyword("and") {
            terms.push(self.term(inside, depth)?);
        }
        Ok(one_or(terms, Expression::And))
    }

    fn term(&mut self, inside: Inside, depth: usize) -> Result<Expression, Error> {
        if depth > MAX_FILTER_DEPTH {
            return Err(Error::invalid_filter(format_args!(
                "it is nested more than {MAX_FILTER_DEPTH} levels deep"
            )));
        }
        self.skip_blanks();
        if self.eat('(') {
            let inner = self.any_of(inside, depth + 1)?;
            self.close(')')?;
            return Ok(inner);
        }
        // `not` is a keyword only before a parenthesis, with or without a blank (F3), because it
        // can be the name of an attribute.
        let (word, rest) = self.peek_word();
        if word.eq_ignore_ascii_case("not") && rest.trim_ascii_start().starts_with('(') {
            self.rest = rest;
            self.skip_blanks();
            self.eat('(');
            let inner = self.any_of(inside, depth + 1)?;
            self.close(')')?;
            return Ok(Expression::Not(Box::new(inner)));
        }
        let path = self.path()?.to_owned();
        if inside == Inside::Resource && self.at('[') {
            let filter = self.element_filter(depth)?;
            if self.eat('.') {
                let sub = self.path()?.to_owned();
                let comparison = self.comparison(sub)?;
                return Ok(quirks::sub_attribute_after_value_filter(
                    path, filter, comparison,
                ));
            }
            return Ok(Expression::Element {
                path,
                filter: Box::new(filter),
            });
        }
        self.comparison(path)
    }

    /// `"[" filter "]"`.
    pub(crate) fn element_filter(&mut self, depth: usize) -> Result<Expression, Error> {
        self.eat('[');
        let filter = self.any_of(Inside::Element, depth + 1)?;
        self.close(']')?;
        Ok(filter)
    }

    fn close(&mut self, c: char) -> Result<(), Error> {
        self.skip_blanks();
        if self.eat(c) {
            return Ok(());
        }
        Err(self.expected(if c == ')' {
            "and, or, or )"
        } else {
            "and, or, or ]"
        }))
    }

    /// `pr`, or an operator and a value, after a path.
    fn comparison(&mut self, path: String) -> Result<Expression, Error> {
        self.terms += 1;
        if self.terms > MAX_FILTER_TERMS {
            return Err(Error::invalid_filter(format_args!(
                "it contains more than {MAX_FILTER_TERMS} comparisons"
            )));
        }
        self.skip_blanks();
        let (word, rest) = self.peek_word();
        if word.eq_ignore_ascii_case("pr") {
            self.rest = rest;
            return Ok(Expression::Present(path));
        }
        let Some(operator) = Operator::from_word(word) else {
            return Err(self.expected("an operator (eq, ne, co, sw, ew, gt, ge, lt, le, pr)"));
        };
        self.rest = rest;
        let value = self.literal()?;
        Ok(Expression::Compare {
            path,
            operator,
            value,
        })
    }

    fn literal(&mut self) -> Result<Literal, Error> {
        self.skip_blanks();
        if self.rest.starts_with('"') {
            return self.string().map(Literal::String);
        }
        let (word, rest) = self.peek_word();
        let literal =
            quirks::literal_in_any_case(word).or_else(|| number(word).map(Literal::Number));
        match literal {
            Some(literal) => {
                self.rest = rest;
                Ok(literal)
            }
            None => {
                Err(self
                    .expected("a value (a string in double quotes, a number, true, false, null)"))
            }
        }
    }

    /// A JSON string with all its escapes (F10). The end is found first, then
    /// the JSON reader decodes it, so that escapes are exactly those of JSON.
    fn string(&mut self) -> Result<String, Error> {
        let mut escaped = false;
        let end = self
            .rest
            .bytes()
            .skip(1)
            .position(|byte| {
                let closes = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                closes
            })
            // The length includes both quotation marks.
            .and_then(|length| self.rest.split_at_checked(length + 2));
        let Some((text, rest)) = end else {
            return Err(self.expected("a closing double quote"));
        };
        let Ok(decoded) = serde_json::from_str(text) else {
            return Err(self.expected("a string with the escapes of JSON"));
        };
        self.rest = rest;
        Ok(decoded)
    }
}

/// Returns a single term as it is, and several terms as a group.
fn one_or(mut terms: Vec<Expression>, group: impl Fn(Vec<Expression>) -> Expression) -> Expression {
    match terms.pop() {
        Some(only) if terms.is_empty() => only,
        Some(last) => {
            terms.push(last);
            group(terms)
        }
        None => group(terms),
    }
}

/// Parses a JSON number.
fn number(word: &str) -> Option<Number> {
    if !word.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return None;
    }
    serde_json::from_str(word).ok()
}
