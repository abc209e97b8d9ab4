//! Filters: the whole grammar of RFC 7644 §3.4.2.2.
//!
//! Three steps, kept apart: [`Filter::parse`] knows the grammar and no
//! attribute; [`Filter::resolve`] binds names to the tables of a resource type
//! and refuses what cannot be compared; [`ResolvedFilter::matches`] looks at a
//! representation, within a budget of [`Work`]. The parser reads its input once, left to
//! right, never goes back, and never recurses deeper than [`MAX_FILTER_DEPTH`]
//! (F13, F18).
//!
//! What the RFC leaves open: an attribute that is not there is different from
//! every value, so `title ne "x"` matches without a title, but where it has a
//! default it is compared as that; on a multi-valued
//! attribute `ne` matches when some element differs (F8), so not when there is
//! none; `eq null` is `not (… pr)` (F9).

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use memchr::memmem::Finder;
use serde_json::{Number, Value};

use crate::Object;
use crate::columns::{ColumnId, Columns, Form, Look, Seen, Source, has_value};
use crate::error::{Error, quote, quote_name};
use crate::fold::fold;
use crate::quirks;
use crate::schema::{Attribute, AttributePath, DataType, Located, ResourceType, Returned, Target};
use crate::value::{compare_numbers, date_time};
use crate::work::{Work, WorkSpent};

/// A filter of this many bytes, or more, is refused (F17).
pub const MAX_FILTER_BYTES: usize = 10_000;

/// How deep parentheses, brackets and `not` may nest.
pub const MAX_FILTER_DEPTH: usize = 64;

/// How many comparisons one filter may hold.
pub const MAX_FILTER_TERMS: usize = 500;

/// A filter that is well-formed; what its names mean is not known yet.
///
/// ```
/// use scim::{Filter, ResourceType, Work};
///
/// let filter = Filter::parse(r#"userName eq "ANN" and not (emails[type eq "home" and value pr])"#)?;
/// let filter = filter.resolve(ResourceType::user())?;
/// let ann = scim::json::parse(br#"{"userName": "Ann", "emails": [{"value": "a", "type": "work"}]}"#)?;
/// assert_eq!(filter.matches(&ann, &Work::new(1_000)), Ok(true));
/// // A store with an index by name reads one user, not all.
/// assert_eq!(filter.demands("userName"), Some("ANN"));
///
/// let error = Filter::parse("userName is \"ann\"").unwrap_err();
/// assert_eq!(error.scim_type(), Some(scim::ScimType::InvalidFilter));
/// let unknown = Filter::parse("shoeSize gt 40")?.resolve(ResourceType::user()).err().unwrap();
/// assert_eq!(unknown.detail(), "filter: User has no attribute \"shoeSize\"");
/// # Ok::<(), scim::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Filter {
    expression: Expression,
}

/// The tree of a filter. Paths are as the client wrote them.
#[derive(Clone, PartialEq)]
pub enum Expression {
    /// `path op value`.
    Compare {
        /// The attribute.
        path: String,
        /// The operator.
        operator: Operator,
        /// What it is compared with.
        value: Literal,
    },
    /// `path pr`: there is a value.
    Present(String),
    /// `path[filter]`: some element meets all of the filter (F4).
    Element {
        /// The multi-valued attribute.
        path: String,
        /// The filter on sub-attributes of one element.
        filter: Box<Expression>,
    },
    /// All of them.
    And(Vec<Expression>),
    /// Any of them.
    Or(Vec<Expression>),
    /// Not this.
    Not(Box<Expression>),
}

/// A comparison operator (RFC 7644 §3.4.2.2 table 3). `pr` compares nothing
/// and is [`Expression::Present`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Contains.
    Co,
    /// Starts with.
    Sw,
    /// Ends with.
    Ew,
    /// Greater, later, or behind in the alphabet.
    Gt,
    /// Greater or equal.
    Ge,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
}

impl Operator {
    /// The word for it in a filter.
    pub fn as_str(self) -> &'static str {
        match self {
            Operator::Eq => "eq",
            Operator::Ne => "ne",
            Operator::Co => "co",
            Operator::Sw => "sw",
            Operator::Ew => "ew",
            Operator::Gt => "gt",
            Operator::Ge => "ge",
            Operator::Lt => "lt",
            Operator::Le => "le",
        }
    }

    fn from_word(word: &str) -> Option<Operator> {
        use Operator::{Co, Eq, Ew, Ge, Gt, Le, Lt, Ne, Sw};
        [Eq, Ne, Co, Sw, Ew, Gt, Ge, Lt, Le]
            .into_iter()
            .find(|operator| operator.as_str().eq_ignore_ascii_case(word))
    }
}

/// The value in a comparison.
#[derive(Clone, PartialEq)]
pub enum Literal {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A number.
    Number(Number),
    /// A text.
    String(String),
}

impl Literal {
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Literal::Null => Value::Null,
            Literal::Boolean(value) => Value::Bool(*value),
            Literal::Number(value) => Value::Number(value.clone()),
            Literal::String(value) => Value::String(value.clone()),
        }
    }
}

impl Filter {
    /// Parses a filter of usual length; see [`Filter::parse_within`].
    pub fn parse(text: &str) -> Result<Filter, Error> {
        Filter::parse_within(text, MAX_FILTER_BYTES)
    }

    /// Parses a filter of fewer than `max_bytes` bytes: a search body may carry
    /// a longer one than a URL.
    pub fn parse_within(text: &str, max_bytes: usize) -> Result<Filter, Error> {
        if text.len() >= max_bytes {
            return Err(Error::invalid_filter(format_args!(
                "it has {} bytes; fewer than {max_bytes} are accepted",
                text.len()
            )));
        }
        let mut parser = Parser::new(text);
        let expression = parser.any_of(Inside::Resource, 0)?;
        parser.end()?;
        Ok(Filter { expression })
    }

    pub(crate) fn of(expression: Expression) -> Filter {
        Filter { expression }
    }

    /// The tree.
    pub fn expression(&self) -> &Expression {
        &self.expression
    }

    /// Binds the filter to the attributes of a resource type.
    ///
    /// An attribute that the type does not have is 400 `invalidFilter` (F14),
    /// as is a comparison that its type forbids (F12); one that is never
    /// returned is 403 `sensitive` (RFC 7644 §7.5.2).
    pub fn resolve<'a>(&self, ty: &'a ResourceType) -> Result<ResolvedFilter<'a>, Error> {
        self.resolve_with(ty, Unknown::Refused)
    }

    /// The same for a search over several types: an attribute that this one
    /// does not have is taken for one without a value (RFC 7644 §3.4.2.1, F14).
    ///
    /// # Errors
    ///
    /// Those of [`Filter::resolve`] for attributes that the type has.
    pub fn resolve_among<'a>(&self, ty: &'a ResourceType) -> Result<ResolvedFilter<'a>, Error> {
        self.resolve_with(ty, Unknown::HasNoValue)
    }

    fn resolve_with<'a>(
        &self,
        ty: &'a ResourceType,
        unknown: Unknown,
    ) -> Result<ResolvedFilter<'a>, Error> {
        let mut columns = Columns::default();
        let root = resolve(&self.expression, ty, unknown, &mut columns)?;
        Ok(ResolvedFilter { root, columns })
    }
}

// ---- text --------------------------------------------------------------

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expression.fmt(f)
    }
}

/// Parses to the same tree again.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expression::Compare {
                path,
                operator,
                value,
            } => write!(f, "{path} {} {value}", operator.as_str()),
            Expression::Present(path) => write!(f, "{path} pr"),
            Expression::Element { path, filter } => write!(f, "{path}[{filter}]"),
            Expression::And(terms) => joined(f, terms, " and ", |term| {
                matches!(term, Expression::And(_) | Expression::Or(_))
            }),
            Expression::Or(terms) => {
                joined(f, terms, " or ", |term| matches!(term, Expression::Or(_)))
            }
            Expression::Not(term) => write!(f, "not ({term})"),
        }
    }
}

fn joined(
    f: &mut fmt::Formatter<'_>,
    terms: &[Expression],
    word: &str,
    in_parentheses: impl Fn(&Expression) -> bool,
) -> fmt::Result {
    for (index, term) in terms.iter().enumerate() {
        if index > 0 {
            f.write_str(word)?;
        }
        if in_parentheses(term) {
            write!(f, "({term})")?;
        } else {
            write!(f, "{term}")?;
        }
    }
    Ok(())
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_value().fmt(f)
    }
}

/// Shows the shape without what is looked for, which is personal data.
impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expression.fmt(f)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expression::Compare { path, operator, .. } => {
                write!(f, "{path} {} …", operator.as_str())
            }
            Expression::Present(path) => write!(f, "{path} pr"),
            Expression::Element { path, filter } => write!(f, "{path}[{filter:?}]"),
            Expression::And(terms) => f.debug_tuple("And").field(terms).finish(),
            Expression::Or(terms) => f.debug_tuple("Or").field(terms).finish(),
            Expression::Not(term) => f.debug_tuple("Not").field(term).finish(),
        }
    }
}

impl fmt::Debug for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Literal::Null => "null",
            Literal::Boolean(_) => "Boolean(…)",
            Literal::Number(_) => "Number(…)",
            Literal::String(_) => "String(…)",
        })
    }
}

// ---- grammar -----------------------------------------------------------

/// Whether names are attributes of the resource or of one element.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Resource,
    Element,
}

/// Reads filters, and the paths of PATCH operations, which share the grammar.
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

    /// Nothing but blanks is left.
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
            return Error::invalid_filter(format_args!("expected {what} where it ends"));
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

    /// The longest run of characters that can stand in a path or a keyword.
    /// Names have letters, digits, `-`, `_` and `$` (RFC 7643 §2.1), URIs a few
    /// more.
    fn peek_word(&self) -> (&'t str, &'t str) {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-_$.:%+~/".contains(c);
        let end = self
            .rest
            .find(|c: char| !is_part(c))
            .unwrap_or(self.rest.len());
        self.rest.split_at_checked(end).unwrap_or((self.rest, ""))
    }

    /// Takes the next word if it is this one, in any case.
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

    /// `a or b or c`: `or` binds least (F2).
    fn any_of(&mut self, inside: Inside, depth: usize) -> Result<Expression, Error> {
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
                "it nests more than {MAX_FILTER_DEPTH} deep"
            )));
        }
        self.skip_blanks();
        if self.eat('(') {
            let inner = self.any_of(inside, depth + 1)?;
            self.close(')')?;
            return Ok(inner);
        }
        // `not` is a keyword only before a parenthesis, with or without a
        // blank (F3): an attribute may be called so.
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
                "it holds more than {MAX_FILTER_TERMS} comparisons"
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
                Err(self.expected("a value (a text in double quotes, a number, true, false, null)"))
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
            // Past the opening and the closing quotation mark.
            .and_then(|length| self.rest.split_at_checked(length + 2));
        let Some((text, rest)) = end else {
            return Err(self.expected("a closing double quote"));
        };
        let Ok(decoded) = serde_json::from_str(text) else {
            return Err(self.expected("a text with the escapes of JSON"));
        };
        self.rest = rest;
        Ok(decoded)
    }
}

/// One term stands for itself.
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

/// A JSON number.
fn number(word: &str) -> Option<Number> {
    if !word.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return None;
    }
    serde_json::from_str(word).ok()
}

// ---- meaning -----------------------------------------------------------

/// A filter whose names and comparisons make sense for a resource type.
#[derive(Clone)]
pub struct ResolvedFilter<'a> {
    root: Node<'a>,
    columns: Columns<'a>,
}

#[derive(Clone)]
enum Node<'a> {
    And(Vec<Node<'a>>),
    Or(Vec<Node<'a>>),
    Not(Box<Node<'a>>),
    /// The URI of an extension and `pr` (F6).
    ExtensionPresent(&'a str),
    /// The column is that of the sub-attribute, if it is about one.
    Present(Target<'a>, Option<ColumnId>),
    Compare(Target<'a>, ColumnId, Test),
    Element(Target<'a>, ElementNode<'a>),
    /// What is compared with an attribute that the type does not have.
    Always(bool),
}

/// What becomes of an attribute that a type does not have.
#[derive(Clone, Copy, PartialEq)]
enum Unknown {
    Refused,
    HasNoValue,
}

/// A filter on one element of a multi-valued attribute.
#[derive(Clone)]
enum ElementNode<'a> {
    And(Vec<ElementNode<'a>>),
    Or(Vec<ElementNode<'a>>),
    Not(Box<ElementNode<'a>>),
    Present(ColumnId),
    /// `None`: the element itself, which is a simple value.
    Compare(Option<&'a Attribute>, ColumnId, Test),
}

/// The filter in `attribute[filter]` of a PATCH path.
pub(crate) struct ElementFilter<'a> {
    root: ElementNode<'a>,
    columns: Columns<'a>,
}

/// A comparison, ready to be made.
#[derive(Clone)]
enum Test {
    /// `eq null`.
    Absent,
    /// `ne null`.
    Present,
    Boolean(Operator, bool),
    Number(Operator, Number),
    Time(Operator, Timestamp),
    /// `co`. The search for the text is prepared once, and takes time that grows with the length of the value only.
    Part {
        wanted: Box<Finder<'static>>,
        case_exact: bool,
    },
    /// Any other operator.
    Text {
        operator: Operator,
        /// What the values are compared with: folded unless case counts.
        wanted: String,
        case_exact: bool,
        /// Whether blanks at the ends of a value do not count.
        trimmed: bool,
        /// What the client wrote, for [`ResolvedFilter::demands`].
        written: String,
    },
}

fn resolve<'a>(
    expression: &Expression,
    ty: &'a ResourceType,
    unknown: Unknown,
    columns: &mut Columns<'a>,
) -> Result<Node<'a>, Error> {
    let mut all = |terms: &[Expression]| {
        terms
            .iter()
            .map(|term| resolve(term, ty, unknown, columns))
            .collect::<Result<Vec<_>, _>>()
    };
    if let Expression::Compare { path, .. }
    | Expression::Present(path)
    | Expression::Element { path, .. } = expression
        && unknown == Unknown::HasNoValue
        && ty.locate(path).is_none()
    {
        // As for an attribute without a value: it is different from all, and null.
        return Ok(Node::Always(match expression {
            Expression::Compare {
                operator, value, ..
            } => (*operator == Operator::Ne) != (*value == Literal::Null),
            _ => false,
        }));
    }
    match expression {
        Expression::And(terms) => all(terms).map(Node::And),
        Expression::Or(terms) => all(terms).map(Node::Or),
        Expression::Not(term) => {
            let node = resolve(term, ty, unknown, columns)?;
            Ok(Node::Not(Box::new(node)))
        }
        Expression::Present(path) => match locate(path, ty)? {
            Located::Extension(schema) => Ok(Node::ExtensionPresent(&schema.id)),
            Located::Attribute(target) => {
                let part = target.sub.map(|_| columns.of(target, Form::Value, false));
                Ok(Node::Present(target, part))
            }
            Located::Base => Err(not_comparable(path)),
        },
        Expression::Compare {
            path,
            operator,
            value,
        } => {
            let Located::Attribute(target) = locate(path, ty)? else {
                return Err(not_comparable(path));
            };
            let target = with_value(target)?;
            let compared = target.sub.unwrap_or(target.attribute);
            let test = Test::new(compared, target.place(), *operator, value)?;
            // Without `active` an account is active (U2), so it is found as that.
            let or_default = !matches!(test, Test::Absent | Test::Present);
            let column = columns.of(target, test.form(), or_default);
            Ok(Node::Compare(target, column, test))
        }
        Expression::Element { path, filter } => {
            let Located::Attribute(target) = locate(path, ty)? else {
                return Err(not_comparable(path));
            };
            if target.sub.is_some() || !target.attribute.multi_valued {
                return Err(Error::invalid_filter(format_args!(
                    "{} has one value, so [ ] cannot follow it",
                    target.place()
                )));
            }
            let node = resolve_element(filter, target, columns)?;
            Ok(Node::Element(target, node))
        }
    }
}

fn locate<'a>(path: &str, ty: &'a ResourceType) -> Result<Located<'a>, Error> {
    let located = ty.locate(path).ok_or_else(|| {
        Error::invalid_filter(format_args!(
            "{} has no attribute {}",
            ty.name,
            quote_name(path)
        ))
    })?;
    if let Located::Attribute(target) = located {
        allowed(target.attribute, target.place())?;
        if let Some(sub) = target.sub {
            allowed(sub, target.place())?;
        }
    }
    Ok(located)
}

/// RFC 7644 §7.5.2: what is never returned must not be found out by searching.
fn allowed(attribute: &Attribute, place: AttributePath<'_>) -> Result<(), Error> {
    if attribute.returned == Returned::Never {
        return Err(Error::sensitive(format_args!(
            "filter: {place} cannot be searched for"
        )));
    }
    Ok(())
}

fn not_comparable(path: &str) -> Error {
    Error::invalid_filter(format_args!(
        "{} is a schema; name one of its attributes",
        quote_name(path)
    ))
}

/// F7: a complex attribute without sub-attribute means its `value`.
pub(crate) fn with_value(target: Target<'_>) -> Result<Target<'_>, Error> {
    if target.sub.is_some() || !target.attribute.is_complex() {
        return Ok(target);
    }
    match target.attribute.sub_attribute("value") {
        Some(value) => Ok(Target {
            sub: Some(value),
            ..target
        }),
        None => Err(Error::invalid_filter(format_args!(
            "{} is complex; name one of its sub-attributes",
            target.place()
        ))),
    }
}

/// Binds the filter in `attribute[filter]`. Of a list of simple values, `value`
/// is the element itself.
fn resolve_element<'a>(
    expression: &Expression,
    list: Target<'a>,
    columns: &mut Columns<'a>,
) -> Result<ElementNode<'a>, Error> {
    let (attribute, place) = (list.attribute, list.place());
    let sub = |path: &str| -> Result<Option<&'a Attribute>, Error> {
        match attribute.sub_attribute(path) {
            Some(sub) => {
                allowed(sub, place.sub(&sub.name))?;
                Ok(Some(sub))
            }
            None if !attribute.is_complex() && path.eq_ignore_ascii_case("value") => Ok(None),
            None => Err(Error::invalid_filter(format_args!(
                "{place} has no sub-attribute {}",
                quote_name(path)
            ))),
        }
    };
    let mut all = |terms: &[Expression]| {
        terms
            .iter()
            .map(|term| resolve_element(term, list, columns))
            .collect::<Result<Vec<_>, _>>()
    };
    match expression {
        Expression::And(terms) => all(terms).map(ElementNode::And),
        Expression::Or(terms) => all(terms).map(ElementNode::Or),
        Expression::Not(term) => {
            let node = resolve_element(term, list, columns)?;
            Ok(ElementNode::Not(Box::new(node)))
        }
        Expression::Present(path) => {
            let target = Target {
                sub: sub(path)?,
                ..list
            };
            let column = columns.of(target, Form::Value, false);
            Ok(ElementNode::Present(column))
        }
        Expression::Compare {
            path,
            operator,
            value,
        } => {
            let sub = sub(path)?;
            let compared = sub.unwrap_or(attribute);
            let place = sub.map_or(place, |sub| place.sub(&sub.name));
            let test = Test::new(compared, place, *operator, value)?;
            let column = columns.of(Target { sub, ..list }, test.form(), false);
            Ok(ElementNode::Compare(sub, column, test))
        }
        Expression::Element { .. } => Err(Error::invalid_filter(format_args!(
            "{place}: [ ] cannot stand within [ ]"
        ))),
    }
}

impl Test {
    fn new(
        attribute: &Attribute,
        place: AttributePath<'_>,
        operator: Operator,
        value: &Literal,
    ) -> Result<Test, Error> {
        use Operator::{Co, Eq, Ew, Ne, Sw};
        let unfit = |expected: &str| {
            Error::invalid_filter(format_args!(
                "{place} is of type {}: {expected}",
                attribute.kind.as_str()
            ))
        };
        if *value == Literal::Null {
            return match operator {
                Eq => Ok(Test::Absent),
                Ne => Ok(Test::Present),
                _ => Err(Error::invalid_filter(format_args!(
                    "{place}: null can be compared by eq and ne only"
                ))),
            };
        }
        let text = || -> Result<Test, Error> {
            let Literal::String(written) = value else {
                return Err(unfit("compare it with a text in double quotes"));
            };
            let case_exact = attribute.case_exact;
            // A part of a name may begin or end with a blank.
            let trimmed = attribute.is_name && !matches!(operator, Co | Sw | Ew);
            let wanted = match (trimmed, case_exact) {
                (true, _) => attribute.prepare(written),
                (false, true) => written.clone(),
                (false, false) => fold(written),
            };
            if operator == Co {
                let wanted = Box::new(Finder::new(&wanted).into_owned());
                return Ok(Test::Part { wanted, case_exact });
            }
            Ok(Test::Text {
                operator,
                wanted,
                case_exact,
                trimmed,
                written: written.clone(),
            })
        };
        match attribute.kind {
            DataType::String | DataType::Reference => text(),
            DataType::Binary if matches!(operator, Eq | Ne) => text(),
            DataType::Binary => Err(unfit("it can be compared by eq, ne and pr only")),
            DataType::Boolean if !matches!(operator, Eq | Ne) => {
                Err(unfit("it can be compared by eq, ne and pr only"))
            }
            DataType::Boolean => match value {
                Literal::Boolean(wanted) => Some(*wanted),
                Literal::String(text) => quirks::boolean_in_a_string(text),
                _ => None,
            }
            .map(|wanted| Test::Boolean(operator, wanted))
            .ok_or_else(|| unfit("compare it with true or false")),
            DataType::Integer | DataType::Decimal if matches!(operator, Co | Sw | Ew) => {
                Err(unfit("it can be compared as a number only"))
            }
            DataType::Integer | DataType::Decimal => match value {
                Literal::Number(wanted) => Some(wanted.clone()),
                Literal::String(text) => quirks::number_in_a_string(text),
                _ => None,
            }
            .map(|wanted| Test::Number(operator, wanted))
            .ok_or_else(|| unfit("compare it with a number")),
            // Parts of a time are parts of its text.
            DataType::DateTime if matches!(operator, Co | Sw | Ew) => text(),
            DataType::DateTime => match value {
                Literal::String(text) => date_time(text),
                _ => None,
            }
            .map(|wanted| Test::Time(operator, wanted))
            .ok_or_else(|| unfit("compare it with a time, as in \"2026-01-31T09:30:00Z\"")),
            DataType::Complex => Err(unfit("name one of its sub-attributes")),
        }
    }

    /// The form in which it compares values.
    fn form(&self) -> Form {
        match *self {
            Test::Absent | Test::Present | Test::Boolean(..) | Test::Number(..) => Form::Value,
            Test::Time(..) => Form::Time,
            Test::Part { case_exact, .. } | Test::Text { case_exact, .. } => {
                Form::Text { case_exact }
            }
        }
    }

    /// The units of [`Work`] that one comparison takes.
    fn cost(&self, seen: &Seen<'_>) -> usize {
        match (self, seen) {
            (Test::Part { .. }, Seen::Text(text)) => 1 + text.len() / 16,
            (_, Seen::Text(text)) => 1 + text.len() / 64,
            _ => 1,
        }
    }

    /// Whether a value, or the lack of one, passes.
    fn passes(&self, seen: &Seen<'_>) -> bool {
        let (operator, ordering) = match (self, seen) {
            (Test::Absent, seen) => return matches!(seen, Seen::Nothing),
            (Test::Present, seen) => return !matches!(seen, Seen::Nothing),
            (Test::Part { wanted, .. }, Seen::Text(is)) => {
                return wanted.find(is.as_bytes()).is_some();
            }
            (Test::Part { .. }, _) => return false,
            (
                Test::Text {
                    operator,
                    wanted,
                    trimmed,
                    ..
                },
                Seen::Text(is),
            ) => match operator {
                Operator::Sw => return is.starts_with(wanted.as_str()),
                Operator::Ew => return is.ends_with(wanted.as_str()),
                operator => {
                    let is = match trimmed {
                        true => is.trim(),
                        false => is,
                    };
                    (*operator, Some(is.cmp(wanted.as_str())))
                }
            },
            (Test::Time(operator, wanted), Seen::Time(is)) => (*operator, Some(is.cmp(wanted))),
            (Test::Boolean(operator, wanted), Seen::Value(Value::Bool(is))) => {
                (*operator, Some(is.cmp(wanted)))
            }
            (Test::Number(operator, wanted), Seen::Value(Value::Number(is))) => {
                (*operator, compare_numbers(is, wanted))
            }
            // There is no value, or one of another type: it is different, and nothing else.
            (
                Test::Text { operator, .. }
                | Test::Time(operator, _)
                | Test::Boolean(operator, _)
                | Test::Number(operator, _),
                _,
            ) => (*operator, None),
        };
        match (operator, ordering) {
            (Operator::Ne, ordering) => ordering != Some(Ordering::Equal),
            (_, None) => false,
            (Operator::Eq, Some(ordering)) => ordering.is_eq(),
            (Operator::Gt, Some(ordering)) => ordering.is_gt(),
            (Operator::Ge, Some(ordering)) => ordering.is_ge(),
            (Operator::Lt, Some(ordering)) => ordering.is_lt(),
            (Operator::Le, Some(ordering)) => ordering.is_le(),
            (Operator::Co | Operator::Sw | Operator::Ew, Some(_)) => false,
        }
    }

    /// The text that a value must be equal to.
    fn demand(&self) -> Option<&str> {
        match self {
            Test::Text {
                operator: Operator::Eq,
                written,
                ..
            } => Some(written),
            _ => None,
        }
    }
}

impl ResolvedFilter<'_> {
    /// Whether a representation matches: the full one, with `id`, `meta` and
    /// all that is readOnly, in canonical spelling.
    ///
    /// A value is read and folded once, however many terms compare it, and every
    /// comparison is taken from `work` as it is made.
    ///
    /// # Errors
    ///
    /// [`WorkSpent`] if it takes more work than is left.
    pub fn matches(&self, representation: &Object, work: &Work) -> Result<bool, WorkSpent> {
        let mut look = Look::new(&self.columns, Source::Resource(representation), work);
        let matches = self.root.matches(&mut look)?;
        look.meter.settle()?;
        Ok(matches)
    }

    /// The text that every match must have at this path, compared by `eq`; for
    /// whoever can find resources by such a value without reading them all.
    ///
    /// The path is in canonical spelling: `userName`, `emails.value`, `id`.
    /// `None` when a match can do without, as below `or` and `not`.
    pub fn demands(&self, path: &str) -> Option<&str> {
        match self.root.alternatives(&[path])?.as_slice() {
            [(_, value)] => Some(value),
            _ => None,
        }
    }

    /// Values of which every match has at least one: pairs of one of the paths
    /// and the text that the value there equals, compared by `eq`. Of several
    /// ways to say so the one with the fewest pairs, and then with the path that
    /// comes first. `None` when a match can do without.
    pub fn alternatives<'p>(&self, paths: &[&'p str]) -> Option<Vec<(&'p str, &str)>> {
        let found = self.root.alternatives(paths)?;
        let named = |(path, value)| Some((*paths.get(path)?, value));
        found.into_iter().map(named).collect()
    }

    /// Whether the filter says nothing but what the value at `path` is, as [`ResolvedFilter::demands`] gives it.
    pub fn is_just(&self, path: &str) -> bool {
        let single = match &self.root {
            Node::Compare(..) => true,
            Node::Element(_, node) => matches!(node, ElementNode::Compare(..)),
            _ => false,
        };
        single && self.demands(path).is_some()
    }

    /// Which elements of a multi-valued attribute (`members`) have to be known
    /// to tell whether a resource matches.
    pub fn elements(&self, attribute: &str) -> Elements<'_> {
        let mut values = BTreeSet::new();
        match self.root.collect(attribute, &mut values) {
            false => Elements::All,
            true if values.is_empty() => Elements::None,
            true => Elements::With(values),
        }
    }
}

/// The elements of a multi-valued attribute that a filter depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elements<'f> {
    /// None: the filter is about something else.
    None,
    /// Those with one of these values, and no other.
    With(BTreeSet<&'f str>),
    /// Any.
    All,
}

impl Node<'_> {
    fn matches(&self, look: &mut Look<'_, '_>) -> Result<bool, WorkSpent> {
        match self {
            Node::And(nodes) => {
                for node in nodes {
                    if !node.matches(look)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Node::Or(nodes) => {
                for node in nodes {
                    if node.matches(look)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Node::Not(node) => Ok(!node.matches(look)?),
            Node::ExtensionPresent(uri) => {
                look.meter.spend(1)?;
                let extension = match look.source {
                    Source::Resource(resource) => resource.get(*uri),
                    Source::Elements(_) => None,
                };
                Ok(extension.is_some_and(has_value))
            }
            Node::Always(matches) => {
                look.meter.spend(1)?;
                Ok(*matches)
            }
            Node::Present(target, None) => {
                look.meter.spend(1)?;
                Ok(look.source.value(*target).is_some_and(has_value))
            }
            Node::Present(_, Some(column)) => look.any(*column, |_| 1, Seen::is_present),
            // Not "some element lacks it": nothing has it (F9).
            Node::Compare(_, column, Test::Absent) => {
                Ok(!look.any(*column, |_| 1, Seen::is_present)?)
            }
            Node::Compare(_, column, test) => {
                look.any(*column, |seen| test.cost(seen), |seen| test.passes(seen))
            }
            Node::Element(target, node) => {
                let elements = look.elements(*target);
                if elements == 0 {
                    look.meter.spend(1)?;
                }
                for element in 0..elements {
                    if node.matches(element, look)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// Collects what is compared by `eq` with the `value` of the attribute's
    /// elements; false when the filter says anything else of them.
    fn collect<'f>(&'f self, attribute: &str, values: &mut BTreeSet<&'f str>) -> bool {
        let is =
            |target: &Target<'_>| target.extension.is_none() && target.attribute.name == attribute;
        match self {
            Node::And(nodes) | Node::Or(nodes) => {
                nodes.iter().all(|node| node.collect(attribute, values))
            }
            Node::Not(node) => node.collect(attribute, values),
            Node::ExtensionPresent(_) | Node::Always(_) => true,
            Node::Present(target, _) => !is(target),
            Node::Compare(target, _, test) if is(target) => {
                let by_value = target.sub.is_some_and(|sub| sub.name == "value");
                match test.demand().filter(|_| by_value) {
                    Some(value) => {
                        values.insert(value);
                        true
                    }
                    None => false,
                }
            }
            Node::Element(target, node) if is(target) => node.collect(values),
            Node::Compare(..) | Node::Element(..) => true,
        }
    }

    /// As [`ResolvedFilter::alternatives`], with the numbers of the paths.
    fn alternatives(&self, paths: &[&str]) -> Option<Vec<(usize, &str)>> {
        match self {
            Node::And(nodes) => fewest(nodes.iter().map(|node| node.alternatives(paths))),
            Node::Or(nodes) => any_of(nodes.iter().map(|node| node.alternatives(paths))),
            Node::Compare(target, _, test) => demanded(target.place(), test, paths),
            Node::Element(target, node) => node.alternatives(target.place(), paths),
            _ => None,
        }
    }
}

/// What a comparison demands, if it is about one of the paths.
fn demanded<'t>(
    place: AttributePath<'_>,
    test: &'t Test,
    paths: &[&str],
) -> Option<Vec<(usize, &'t str)>> {
    let path = paths.iter().position(|path| is_place(place, path))?;
    Some(vec![(path, test.demand()?)])
}

/// Every match meets all of these: the cheapest one will do.
fn fewest<'t>(
    all: impl Iterator<Item = Option<Vec<(usize, &'t str)>>>,
) -> Option<Vec<(usize, &'t str)>> {
    all.flatten().min_by_key(|pairs| {
        let path = pairs.iter().map(|(path, _)| *path).max();
        (pairs.len(), path)
    })
}

/// Every match meets one of these, so each of them has to say something.
fn any_of<'t>(
    all: impl Iterator<Item = Option<Vec<(usize, &'t str)>>>,
) -> Option<Vec<(usize, &'t str)>> {
    let all: Option<Vec<_>> = all.collect();
    Some(all?.into_iter().flatten().collect())
}

impl ElementNode<'_> {
    /// Whether one element matches.
    fn matches(&self, element: usize, look: &mut Look<'_, '_>) -> Result<bool, WorkSpent> {
        match self {
            ElementNode::And(nodes) => {
                for node in nodes {
                    if !node.matches(element, look)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            ElementNode::Or(nodes) => {
                for node in nodes {
                    if node.matches(element, look)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            ElementNode::Not(node) => Ok(!node.matches(element, look)?),
            ElementNode::Present(column) => look.at(*column, element, |_| 1, Seen::is_present),
            ElementNode::Compare(_, column, test) => look.at(
                *column,
                element,
                |seen| test.cost(seen),
                |seen| test.passes(seen),
            ),
        }
    }

    /// As [`Node::collect`], within `[ ]`.
    fn collect<'f>(&'f self, values: &mut BTreeSet<&'f str>) -> bool {
        match self {
            ElementNode::Or(nodes) => nodes.iter().all(|node| node.collect(values)),
            // One term that names the element is enough: the others are about that element.
            ElementNode::And(nodes) => nodes.iter().any(|node| node.collect(values)),
            ElementNode::Compare(Some(sub), _, test) if sub.name == "value" => {
                match test.demand() {
                    Some(value) => {
                        values.insert(value);
                        true
                    }
                    None => false,
                }
            }
            ElementNode::Not(_) | ElementNode::Present(_) | ElementNode::Compare(..) => false,
        }
    }

    fn alternatives(&self, list: AttributePath<'_>, paths: &[&str]) -> Option<Vec<(usize, &str)>> {
        match self {
            ElementNode::And(nodes) => {
                fewest(nodes.iter().map(|node| node.alternatives(list, paths)))
            }
            ElementNode::Or(nodes) => {
                any_of(nodes.iter().map(|node| node.alternatives(list, paths)))
            }
            ElementNode::Compare(Some(sub), _, test) => demanded(list.sub(&sub.name), test, paths),
            ElementNode::Compare(None, _, test) => demanded(list, test, paths),
            _ => None,
        }
    }
}

impl<'a> ElementFilter<'a> {
    /// Binds the filter to the sub-attributes of a list.
    pub(crate) fn resolve(expression: &Expression, list: Target<'a>) -> Result<Self, Error> {
        let mut columns = Columns::default();
        let root = resolve_element(expression, list, &mut columns)?;
        Ok(ElementFilter { root, columns })
    }

    /// Which of the elements match, in their order.
    ///
    /// # Errors
    ///
    /// As [`ResolvedFilter::matches`].
    pub(crate) fn select(&self, elements: &[Value], work: &Work) -> Result<Vec<bool>, WorkSpent> {
        let mut look = Look::new(&self.columns, Source::Elements(elements), work);
        let selected = (0..elements.len())
            .map(|element| self.root.matches(element, &mut look))
            .collect::<Result<_, _>>()?;
        look.meter.settle()?;
        Ok(selected)
    }
}

fn is_place(place: AttributePath<'_>, path: &str) -> bool {
    place.to_string().eq_ignore_ascii_case(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// A user as a store would represent one.
    fn ann() -> Object {
        let user = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User",
                "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
            "id": "2819c223", "externalId": "00uA", "userName": "Ann@Example.com",
            "name": {"familyName": "O'Hara \"the\" \\ 50%", "givenName": "Ann"},
            "active": true,
            "emails": [
                {"value": "ann@example.com", "type": "work", "primary": true},
                {"value": "ann@home.example", "type": "home"}],
            "groups": [{"value": "e9e30dba", "display": "Guides"}],
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Sales", "manager": {"value": "00u0"}},
            "meta": {"resourceType": "User", "created": "2026-01-01T00:00:00.000Z",
                "lastModified": "2026-01-01T00:00:00.500Z", "version": "W/\"1\""},
        });
        user.as_object().unwrap().clone()
    }

    fn met(filter: &ResolvedFilter<'_>, resource: &Object) -> bool {
        filter.matches(resource, &Work::new(1_000_000)).unwrap()
    }

    fn matches(filter: &str) -> bool {
        let parsed = Filter::parse(filter).unwrap();
        let resolved = parsed.resolve(ResourceType::user()).unwrap();
        met(&resolved, &ann())
    }

    #[track_caller]
    fn all_match(filters: &[&str]) {
        for filter in filters {
            assert!(matches(filter), "{filter}");
            assert!(!matches(&format!("not ({filter})")), "not ({filter})");
        }
    }

    #[track_caller]
    fn none_matches(filters: &[&str]) {
        for filter in filters {
            assert!(!matches(filter), "{filter}");
        }
    }

    fn refused(filter: &str) -> Error {
        match Filter::parse(filter) {
            Err(error) => error,
            Ok(parsed) => match parsed.resolve(ResourceType::user()) {
                Err(error) => error,
                Ok(_) => panic!("{filter} is taken"),
            },
        }
    }

    #[test]
    fn f1_every_operator_in_any_case() {
        all_match(&[
            "userName eq \"ann@example.com\"",
            "userName NE \"bob\"",
            "userName Co \"@EX\"",
            "userName sw \"ann\"",
            "userName ew \".COM\"",
            "userName pR",
            "userName gt \"ANA\"",
            "userName ge \"ann@example.com\"",
            "userName lt \"b\"",
            "userName le \"ann@example.com\"",
        ]);
        none_matches(&[
            "userName gt \"ann@example.com\"",
            "userName lt \"ann@example.com\"",
            "title pr",
            "title eq \"x\"",
            "title gt \"\"",
        ]);
    }

    #[test]
    fn f2_and_binds_more_than_or_and_parentheses_most() {
        all_match(&[
            "active eq true or title pr and title pr",
            "title pr and title pr or active eq true",
            "(title pr or active eq true) and userName pr",
        ]);
        none_matches(&[
            "(active eq true or title pr) and title pr",
            "title pr and (title pr or active eq true)",
        ]);
    }

    #[test]
    fn f3_not_with_and_without_a_blank() {
        all_match(&[
            "not (title pr)",
            "not(title pr)",
            "NOT ( title pr )",
            "not(not(active eq true))",
        ]);
        none_matches(&["not (active eq true)", "not(title pr) and title pr"]);
    }

    #[test]
    fn f4_a_value_path_holds_against_one_element() {
        all_match(&[
            "emails[type eq \"work\" and value co \"@example\"]",
            "emails.type eq \"home\" and emails.value co \"@example\"",
            "emails[not (type eq \"work\")]",
        ]);
        none_matches(&["emails[type eq \"home\" and value co \"@example.com\"]"]);
    }

    #[test]
    fn f5_entras_sub_attribute_after_a_value_path() {
        all_match(&["emails[type eq \"work\"].value eq \"ANN@example.com\""]);
        none_matches(&["emails[type eq \"home\"].value eq \"ann@example.com\""]);
    }

    #[test]
    fn f6_urns() {
        const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
        all_match(&[
            "urn:ietf:params:scim:schemas:core:2.0:User:userName sw \"ann\"",
            "URN:IETF:params:scim:schemas:core:2.0:user:NAME.givenname eq \"ann\"",
            &format!("{ENTERPRISE}:department eq \"sales\""),
            &format!("{ENTERPRISE}:manager.value eq \"00u0\""),
            &format!("{ENTERPRISE}:manager eq \"00u0\""),
            &format!("{ENTERPRISE} pr"),
        ]);
        none_matches(&[&format!("{ENTERPRISE}:costCenter pr")]);
    }

    #[test]
    fn h7_f15_uris_of_schemas_have_no_case() {
        assert!(matches(
            "schemas eq \"URN:ietf:params:scim:schemas:CORE:2.0:user\""
        ));
        assert!(!matches(
            "schemas eq \"urn:ietf:params:scim:schemas:core:2.0:Group\""
        ));
    }

    #[test]
    fn f7_f8_lists_match_by_value_and_by_any_element() {
        all_match(&[
            "emails eq \"ann@home.example\"",
            "emails co \"home\"",
            "emails pr",
            "emails ne \"ann@example.com\"",
            "groups eq \"e9e30dba\"",
            "schemas eq \"urn:ietf:params:scim:schemas:core:2.0:User\"",
        ]);
        none_matches(&[
            "phoneNumbers pr",
            "phoneNumbers eq \"1\"",
            "emails eq \"ann\"",
        ]);
    }

    #[test]
    fn f9_null_is_what_is_not_there() {
        all_match(&[
            "title eq null",
            "userName ne null",
            "phoneNumbers eq null",
            "emails.display eq NULL",
        ]);
        none_matches(&["userName eq null", "title ne null", "emails eq null"]);
    }

    #[test]
    fn u2_without_active_a_user_is_found_as_active() {
        let mut bob = ann();
        bob.remove("active");
        let matches = |filter: &str| {
            let parsed = Filter::parse(filter).unwrap();
            met(&parsed.resolve(ResourceType::user()).unwrap(), &bob)
        };
        assert!(matches("active eq true") && matches("active ne false"));
        assert!(!matches("active eq false") && !matches("active ne true"));
        assert!(!matches("active pr") && !matches("active ne null") && matches("active eq null"));
    }

    #[test]
    fn f10_texts_have_the_escapes_of_json() {
        all_match(&[
            r#"name.familyName eq "O'Hara \"the\" \\ 50%""#,
            r#"name.familyName sw "\u004f'hara""#,
            r#"name.familyName co " \"THE\" ""#,
        ]);
    }

    #[test]
    fn f11_times_are_compared_as_times() {
        all_match(&[
            "meta.created eq \"2026-01-01T01:00:00+01:00\"",
            "meta.lastModified gt \"2026-01-01T00:00:00Z\"",
            "meta.lastModified lt \"2026-01-01T00:00:00.6Z\"",
            "meta.created sw \"2026-01\"",
        ]);
        assert!(
            refused("meta.created gt \"yesterday\"")
                .detail()
                .contains("compare it with a time")
        );
    }

    #[test]
    fn c14_case_counts_where_the_schema_says_so() {
        all_match(&["externalId eq \"00uA\"", "id eq \"2819c223\""]);
        none_matches(&["externalId eq \"00ua\"", "id eq \"2819C223\""]);
    }

    #[test]
    fn f12_f13_f14_what_is_refused_says_why() {
        for (filter, detail) in [
            ("", "filter: expected an attribute where it ends"),
            (
                "userName",
                "filter: expected an operator (eq, ne, co, sw, ew, gt, ge, lt, le, pr) where it ends",
            ),
            (
                "userName is \"x\"",
                "filter: expected an operator (eq, ne, co, sw, ew, gt, ge, lt, le, pr) at byte 10, found \"is \"x\"\"",
            ),
            (
                "userName eq ann",
                "filter: expected a value (a text in double quotes, a number, true, false, null) at byte 13, found \"ann\"",
            ),
            (
                "userName eq \"x",
                "filter: expected a closing double quote at byte 13, found \"\"x\"",
            ),
            (
                "userName eq \"\\x\"",
                "filter: expected a text with the escapes of JSON at byte 13, found \"\"\\x\"\"",
            ),
            (
                "userName pr or",
                "filter: expected an attribute where it ends",
            ),
            (
                "userName pr title pr",
                "filter: expected and, or, or the end at byte 13, found \"title pr\"",
            ),
            (
                "(userName pr",
                "filter: expected and, or, or ) where it ends",
            ),
            (
                "emails[type pr",
                "filter: expected and, or, or ] where it ends",
            ),
            ("shoeSize pr", "filter: User has no attribute \"shoeSize\""),
            (
                "emails.shoeSize pr",
                "filter: User has no attribute \"emails.shoeSize\"",
            ),
            (
                "emails[shoeSize pr]",
                "filter: emails has no sub-attribute \"shoeSize\"",
            ),
            (
                "name[givenName pr]",
                "filter: name has one value, so [ ] cannot follow it",
            ),
            (
                "name eq \"x\"",
                "filter: name is complex; name one of its sub-attributes",
            ),
            (
                "active gt true",
                "filter: active is of type boolean: it can be compared by eq, ne and pr only",
            ),
            (
                "active eq \"x\"",
                "filter: active is of type boolean: compare it with true or false",
            ),
            (
                "userName eq 7",
                "filter: userName is of type string: compare it with a text in double quotes",
            ),
            (
                "x509Certificates gt \"YQ==\"",
                "filter: x509Certificates.value is of type binary: it can be compared by eq, ne and pr only",
            ),
            (
                "userName gt null",
                "filter: userName: null can be compared by eq and ne only",
            ),
        ] {
            let error = refused(filter);
            assert_eq!(
                (error.status(), error.scim_type()),
                (400, Some(crate::ScimType::InvalidFilter)),
                "{filter}"
            );
            assert_eq!(error.detail(), detail, "{filter}");
        }
    }

    #[test]
    fn c12_a_password_cannot_be_found_out() {
        for filter in [
            "password eq \"x\"",
            "password pr",
            "not (password sw \"a\")",
        ] {
            let error = refused(filter);
            assert_eq!(
                (error.status(), error.scim_type()),
                (403, Some(crate::ScimType::Sensitive)),
                "{filter}"
            );
        }
    }

    #[test]
    fn f18_depth_length_and_terms_are_bounded() {
        let nested =
            |depth: usize| format!("{}userName pr{}", "(".repeat(depth), ")".repeat(depth));
        assert!(Filter::parse(&nested(MAX_FILTER_DEPTH)).is_ok());
        assert_eq!(
            refused(&nested(MAX_FILTER_DEPTH + 1)).detail(),
            "filter: it nests more than 64 deep"
        );
        assert_eq!(
            refused(&"not(".repeat(2_000)).detail(),
            "filter: it nests more than 64 deep"
        );
        let terms = |count: usize| vec!["a pr"; count].join(" or ");
        assert!(Filter::parse(&terms(MAX_FILTER_TERMS)).is_ok());
        assert_eq!(
            refused(&terms(MAX_FILTER_TERMS + 1)).detail(),
            "filter: it holds more than 500 comparisons"
        );
        let long = format!("userName eq \"{}\"", "a".repeat(10_240));
        assert_eq!(
            refused(&long).detail(),
            "filter: it has 10254 bytes; fewer than 10000 are accepted"
        );
    }

    #[test]
    fn g9_which_members_a_filter_depends_on() {
        let elements = |filter: &str| {
            let filter = Filter::parse(filter).unwrap();
            let resolved = filter.resolve(ResourceType::group()).unwrap();
            match resolved.elements("members") {
                Elements::None => vec![],
                Elements::With(values) => values.into_iter().map(str::to_owned).collect(),
                Elements::All => vec!["*".to_owned()],
            }
        };
        for (filter, expected) in [
            (r#"displayName eq "x" or id eq "g""#, vec![]),
            (r#"members eq "u""#, vec!["u"]),
            (r#"id eq "g" and members.value eq "u""#, vec!["u"]),
            (r#"not (members eq "u") or members eq "v""#, vec!["u", "v"]),
            (r#"members[value eq "u" and type eq "User"]"#, vec!["u"]),
            (r#"members[value eq "u" or value eq "v"]"#, vec!["u", "v"]),
            (r#"members[value eq "u" or type eq "User"]"#, vec!["*"]),
            (r#"members[not (value eq "u")]"#, vec!["*"]),
            (r#"members.display eq "u""#, vec!["*"]),
            (r#"members ne "u""#, vec!["*"]),
            ("members pr", vec!["*"]),
            ("members eq null", vec!["*"]),
        ] {
            assert_eq!(elements(filter), expected, "{filter}");
        }
    }

    #[test]
    fn a_demand_is_what_every_match_must_have() {
        let demands = |filter: &str, path: &str| {
            let parsed = Filter::parse(filter).unwrap();
            let resolved = parsed.resolve(ResourceType::user()).unwrap();
            resolved.demands(path).map(str::to_owned)
        };
        for (filter, path, demand) in [
            ("userName eq \"Ann\"", "userName", Some("Ann")),
            (
                "active eq true and USERNAME eq \"ann\"",
                "userName",
                Some("ann"),
            ),
            ("emails eq \"a\"", "emails.value", Some("a")),
            (
                "emails[type eq \"work\" and value eq \"a\"]",
                "emails.value",
                Some("a"),
            ),
            (
                "emails[type eq \"work\"].value eq \"a\"",
                "emails.value",
                Some("a"),
            ),
            ("userName eq \"a\" or active eq true", "userName", None),
            ("not (userName eq \"a\")", "userName", None),
            ("userName sw \"a\"", "userName", None),
            ("userName ne \"a\"", "userName", None),
            ("emails[type eq \"a\"]", "emails.value", None),
        ] {
            assert_eq!(demands(filter, path).as_deref(), demand, "{filter}");
        }
    }

    #[test]
    fn alternatives_are_what_every_match_has_one_of() {
        const PATHS: [&str; 3] = ["id", "userName", "emails.value"];
        let alternatives = |filter: &str| {
            let parsed = Filter::parse(filter).unwrap();
            let resolved = parsed.resolve(ResourceType::user()).unwrap();
            let found = resolved.alternatives(&PATHS);
            found.map(|pairs| {
                let pairs = pairs.iter().map(|(path, value)| format!("{path}={value}"));
                pairs.collect::<Vec<_>>().join(" ")
            })
        };
        for (filter, expected) in [
            (
                r#"userName eq "a" or emails.value eq "b" or id eq "c""#,
                Some("userName=a emails.value=b id=c"),
            ),
            (
                r#"emails[type eq "work" and (value eq "a" or value eq "b")]"#,
                Some("emails.value=a emails.value=b"),
            ),
            (
                r#"active eq true and (userName eq "a" or userName eq "b")"#,
                Some("userName=a userName=b"),
            ),
            // The fewest, and of as many the path that comes first.
            (
                r#"(userName eq "a" or userName eq "b") and emails.value eq "c""#,
                Some("emails.value=c"),
            ),
            (
                r#"emails.value eq "c" and userName eq "a" and id eq "x""#,
                Some("id=x"),
            ),
            (r#"userName eq "a" or active eq true"#, None),
            (r#"userName eq "a" or not (userName eq "b")"#, None),
            (r#"emails[type eq "work" or value eq "a"]"#, None),
        ] {
            assert_eq!(alternatives(filter).as_deref(), expected, "{filter}");
        }
    }

    #[test]
    fn f14_among_several_types_what_one_lacks_has_no_value() {
        let among = |filter: &str| {
            let parsed = Filter::parse(filter).unwrap();
            let resolved = parsed.resolve_among(ResourceType::group()).unwrap();
            met(&resolved, &ann())
        };
        for filter in [
            r#"userName ne "x""#,
            "userName eq null",
            "not (userName pr)",
            r#"id pr and not (emails[type eq "work"])"#,
        ] {
            assert!(among(filter), "{filter}");
        }
        for filter in [
            r#"userName eq "Ann@Example.com""#,
            "userName pr",
            "userName ne null",
            r#"userName co "n""#,
            r#"emails[type eq "work"]"#,
            "urn:x:y pr",
        ] {
            assert!(!among(filter), "{filter}");
        }
        let sensitive = Filter::parse(r#"password eq "x""#).unwrap();
        assert!(sensitive.resolve_among(ResourceType::user()).is_err());
        assert!(sensitive.resolve_among(ResourceType::group()).is_ok());
    }

    #[test]
    fn debug_shows_no_value() {
        let shown = format!(
            "{:?}",
            Filter::parse("userName eq \"ann\" and emails[value sw \"x\"] or not (title pr)")
                .unwrap()
        );
        assert!(
            !shown.contains("ann") && !shown.contains("\"x\""),
            "{shown}"
        );
    }

    fn expressions(names: &'static [&'static str]) -> BoxedStrategy<Expression> {
        let name = prop::sample::select(names).prop_map(str::to_owned);
        let literal = prop_oneof![
            Just(Literal::Null),
            any::<bool>().prop_map(Literal::Boolean),
            any::<i64>().prop_map(|number| Literal::Number(number.into())),
            ".*".prop_map(Literal::String),
        ];
        let operator = prop::sample::select(vec![
            Operator::Eq,
            Operator::Ne,
            Operator::Co,
            Operator::Sw,
            Operator::Ew,
            Operator::Gt,
            Operator::Ge,
            Operator::Lt,
            Operator::Le,
        ]);
        let leaf = prop_oneof![
            name.clone().prop_map(Expression::Present),
            (name, operator, literal).prop_map(|(path, operator, value)| Expression::Compare {
                path,
                operator,
                value
            }),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let several = prop::collection::vec(inner.clone(), 2..4);
            prop_oneof![
                several.clone().prop_map(flat_and),
                several.prop_map(flat_or),
                inner.prop_map(|term| Expression::Not(Box::new(term))),
            ]
        })
        .boxed()
    }

    /// `a and (b and c)` keeps its parentheses, so a group may hold a group of its kind.
    fn flat_and(terms: Vec<Expression>) -> Expression {
        Expression::And(terms)
    }

    fn flat_or(terms: Vec<Expression>) -> Expression {
        Expression::Or(terms)
    }

    fn any_filter() -> BoxedStrategy<Expression> {
        let element = (
            prop::sample::select(vec!["emails", "phoneNumbers"]),
            expressions(&["value", "type"]),
        )
            .prop_map(|(path, filter)| Expression::Element {
                path: path.to_owned(),
                filter: Box::new(filter),
            });
        let plain = expressions(&[
            "userName",
            "name.familyName",
            "emails.value",
            "urn:ietf:params:scim:schemas:core:2.0:User:title",
            "meta.created",
        ]);
        prop_oneof![3 => plain, 1 => element].boxed()
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            if let Ok(filter) = Filter::parse(&text) {
                let _ = filter.resolve(ResourceType::user());
            }
        }

        #[test]
        fn no_filter_like_text_makes_it_panic(
            words in prop::collection::vec(prop::sample::select(vec![
                "userName", "emails", "active", "eq", "pr", "co", "gt", "and", "or", "not", "(", ")", "[", "]", ".", "\"x\"", "\"", "\\",
                "true", "7", "-1e5", "null", " ", "urn:a:b", "value", "\u{e9}", "\u{0}"]), 0..24),
            blanks in any::<bool>(),
        ) {
            let text = words.join(if blanks { " " } else { "" });
            if let Ok(filter) = Filter::parse(&text)
                && let Ok(resolved) = filter.resolve(ResourceType::user()) {
                met(&resolved, &ann());
            }
        }

        #[test]
        fn what_is_shown_parses_to_the_same(expression in any_filter()) {
            let text = expression.to_string();
            let parsed = Filter::parse(&text).unwrap();
            prop_assert_eq!(parsed.to_string(), text);
            prop_assert!(parsed.expression() == &expression);
        }

        #[test]
        fn not_turns_every_answer(expression in any_filter()) {
            let filter = Filter::of(expression.clone());
            let other = Filter::of(Expression::Not(Box::new(expression)));
            if let (Ok(filter), Ok(other)) = (filter.resolve(ResourceType::user()), other.resolve(ResourceType::user())) {
                prop_assert_ne!(met(&filter, &ann()), met(&other, &ann()));
            }
        }
    }
}
