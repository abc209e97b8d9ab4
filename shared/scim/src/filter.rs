//! Filters (RFC 7644 §3.4.2.2).
//!
//! A filter takes three steps. [`Filter::parse`] reads the grammar, which does not depend on
//! attributes. [`Filter::resolve`] binds names to the attributes of a resource type and refuses
//! comparisons that do not suit their types. [`ResolvedFilter::matches`] evaluates the filter for a
//! representation within a [`ComparisonBudget`]. The parser reads its input once, from left to
//! right, without backtracking, and recurses at most [`MAX_FILTER_DEPTH`] levels (F13, F18).
//!
//! The RFC leaves these cases open. A missing attribute differs from every value, so `title ne "x"`
//! matches a user without title; an attribute with a default is compared as the default. For a
//! multi-valued attribute, `ne` matches if some element differs (F8), so it does not match an empty
//! list. `eq null` is equivalent to `not (… pr)` (F9).

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

/// Length of a filter in bytes from which it is refused (F17).
pub const MAX_FILTER_BYTES: usize = 10_000;

/// Maximum nesting depth of parentheses, brackets and `not`.
pub const MAX_FILTER_DEPTH: usize = 64;

/// Maximum number of comparisons in one filter.
pub const MAX_FILTER_TERMS: usize = 500;

/// A well-formed filter, whose names are not resolved.
///
/// ```
/// use scim::{Filter, ResourceType, ComparisonBudget};
///
/// let filter = Filter::parse(r#"userName eq "ANN" and not (emails[type eq "home" and value pr])"#)?;
/// let filter = filter.resolve(ResourceType::user())?;
/// let ann = scim::json::parse(br#"{"userName": "Ann", "emails": [{"value": "a", "type": "work"}]}"#)?;
/// assert_eq!(filter.matches(&ann, &ComparisonBudget::new(1_000)), Ok(true));
/// // A store with an index of names reads one user instead of all.
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

/// The syntax tree of a filter. Paths are in the spelling of the client.
#[derive(Clone, PartialEq)]
pub enum Expression {
    /// `path op value`.
    Compare {
        /// The attribute.
        path: String,
        /// The operator.
        operator: Operator,
        /// The value.
        value: Literal,
    },
    /// `path pr`: the attribute has a value.
    Present(String),
    /// `path[filter]`: one element matches the whole filter (F4).
    Element {
        /// The multi-valued attribute.
        path: String,
        /// The filter on sub-attributes of one element.
        filter: Box<Expression>,
    },
    /// All terms match.
    And(Vec<Expression>),
    /// At least one term matches.
    Or(Vec<Expression>),
    /// The term does not match.
    Not(Box<Expression>),
}

/// A comparison operator (RFC 7644 §3.4.2.2 table 3). The operator `pr` is [`Expression::Present`].
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
    /// Greater, later, or after in lexicographic order.
    Gt,
    /// Greater or equal.
    Ge,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
}

impl Operator {
    /// Returns the keyword in filters.
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
    /// A string.
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
    /// Parses a filter of fewer than [`MAX_FILTER_BYTES`] bytes.
    pub fn parse(text: &str) -> Result<Filter, Error> {
        Filter::parse_within(text, MAX_FILTER_BYTES)
    }

    /// Parses a filter of fewer than `max_bytes` bytes. A search body may contain a longer filter
    /// than a URL.
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

    /// Returns the syntax tree.
    pub fn expression(&self) -> &Expression {
        &self.expression
    }

    /// Binds the filter to the attributes of a resource type.
    ///
    /// An unknown attribute is 400 `invalidFilter` (F14), and so is a comparison that the data type
    /// does not permit (F12). An attribute that is never returned is 403 `sensitive` (RFC 7644
    /// §7.5.2).
    pub fn resolve<'a>(&self, ty: &'a ResourceType) -> Result<ResolvedFilter<'a>, Error> {
        self.resolve_with(ty, Unknown::Refused)
    }

    /// Binds the filter in a search over several types. An attribute that this type does not have
    /// is treated as missing (RFC 7644 §3.4.2.1, F14).
    ///
    /// # Errors
    ///
    /// The errors of [`Filter::resolve`] for attributes of the type.
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

/// The text parses to the same tree.
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

/// Shows the structure without the values, which are personal data.
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
