//! Filters: the whole grammar of RFC 7644 §3.4.2.2.
//!
//! Three steps, kept apart: [`Filter::parse`] knows the grammar and no
//! attribute; [`Filter::resolve`] binds names to the tables of a resource type
//! and refuses what cannot be compared; [`ResolvedFilter::matches`] looks at a
//! representation, within a budget of [`ComparisonBudget`]. The parser reads its input once, left to
//! right, never goes back, and never recurses deeper than [`MAX_FILTER_DEPTH`]
//! (F13, F18).
//!
//! What the RFC leaves open: an attribute that is not there is different from
//! every value, so `title ne "x"` matches without a title, but where it has a
//! default it is compared as that; on a multi-valued
//! attribute `ne` matches when some element differs (F8), so not when there is
//! none; `eq null` is `not (… pr)` (F9).

mod lookup;
mod parser;
mod predicate;
mod resolve;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::{Number, Value};

use crate::columns::Columns;
use crate::error::Error;
use crate::schema::ResourceType;

pub use lookup::Elements;
use parser::Inside;
pub(crate) use parser::Parser;
pub(crate) use resolve::ElementFilter;
pub use resolve::ResolvedFilter;
use resolve::{Unknown, resolve};

/// A filter of this many bytes, or more, is refused (F17).
pub const MAX_FILTER_BYTES: usize = 10_000;

/// How deep parentheses, brackets and `not` may nest.
pub const MAX_FILTER_DEPTH: usize = 64;

/// How many comparisons one filter may hold.
pub const MAX_FILTER_TERMS: usize = 500;

/// A filter that is well-formed; what its names mean is not known yet.
///
/// ```
/// use scim::{Filter, ResourceType, ComparisonBudget};
///
/// let filter = Filter::parse(r#"userName eq "ANN" and not (emails[type eq "home" and value pr])"#)?;
/// let filter = filter.resolve(ResourceType::user())?;
/// let ann = scim::json::parse(br#"{"userName": "Ann", "emails": [{"value": "a", "type": "work"}]}"#)?;
/// assert_eq!(filter.matches(&ann, &ComparisonBudget::new(1_000)), Ok(true));
/// // A store with an index by name reads one user, not all.
/// assert_eq!(filter.required_equality("userName"), Some("ANN"));
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
