//! Binds a filter to the attributes of a resource type and evaluates it.

use serde_json::Value;

use super::predicate::Predicate;
use super::{Expression, Literal, Operator};
use crate::Object;
use crate::budget::{BudgetExhausted, ComparisonBudget};
use crate::columns::{ColumnId, ColumnValue, Columns, Evaluation, Form, Source, has_value};
use crate::error::{Error, quote_name};
use crate::schema::{Attribute, AttributePath, Located, ResourceType, Returned, Target};

/// A filter that is bound to the attributes of a resource type.
#[derive(Clone)]
pub struct ResolvedFilter<'a> {
    pub(super) root: Node<'a>,
    pub(super) columns: Columns<'a>,
}

#[derive(Clone)]
pub(super) enum Node<'a> {
    And(Vec<Node<'a>>),
    Or(Vec<Node<'a>>),
    Not(Box<Node<'a>>),
    /// `urn:… pr` with the URI of an extension (F6).
    ExtensionPresent(&'a str),
    /// `path pr`. The column is the one of the sub-attribute, if the path has one.
    Present(Target<'a>, Option<ColumnId>),
    Compare(Target<'a>, ColumnId, Predicate),
    Element(Target<'a>, ElementNode<'a>),
    /// A comparison with an attribute that the type does not have has a constant result.
    Always(bool),
}

/// How an attribute that the type does not have is treated.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Unknown {
    Refused,
    HasNoValue,
}

/// A filter on one element of a multi-valued attribute.
#[derive(Clone)]
pub(super) enum ElementNode<'a> {
    And(Vec<ElementNode<'a>>),
    Or(Vec<ElementNode<'a>>),
    Not(Box<ElementNode<'a>>),
    Present(ColumnId),
    /// `None` stands for the element itself, which is a simple value.
    Compare(Option<&'a Attribute>, ColumnId, Predicate),
}

/// The filter in `attribute[filter]` of a PATCH path.
pub(crate) struct ElementFilter<'a> {
    root: ElementNode<'a>,
    pub(super) columns: Columns<'a>,
}

pub(super) fn resolve<'a>(
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
        // The attribute has no value, so it differs from every value and equals null.
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
            let target = target.with_value().ok_or_else(|| {
                Error::invalid_filter(format_args!(
                    "{} is complex; name one of its sub-attributes",
                    target.path()
                ))
            })?;
            let compared = target.sub.unwrap_or(target.attribute);
            let predicate = Predicate::new(compared, target.path(), *operator, value)?;
            // RFC 7643 §4.1.1 (U2): a user without `active` is active.
            let or_default = !matches!(predicate, Predicate::Absent | Predicate::Present);
            let column = columns.of(target, predicate.form(), or_default);
            Ok(Node::Compare(target, column, predicate))
        }
        Expression::Element { path, filter } => {
            let Located::Attribute(target) = locate(path, ty)? else {
                return Err(not_comparable(path));
            };
            if target.sub.is_some() || !target.attribute.multi_valued {
                return Err(Error::invalid_filter(format_args!(
                    "{} is single-valued, so it cannot be followed by [ ]",
                    target.path()
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
        allowed(target.attribute, target.path())?;
        if let Some(sub) = target.sub {
            allowed(sub, target.path())?;
        }
    }
    Ok(located)
}

/// RFC 7644 §7.5.2: a filter must not reveal values that are never returned.
fn allowed(attribute: &Attribute, place: AttributePath<'_>) -> Result<(), Error> {
    if attribute.returned == Returned::Never {
        return Err(Error::sensitive(format_args!(
            "filter: {place} cannot be searched, because it is never returned"
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

/// Binds the filter in `attribute[filter]`. In a list of simple values, `value` is the element
/// itself.
fn resolve_element<'a>(
    expression: &Expression,
    list: Target<'a>,
    columns: &mut Columns<'a>,
) -> Result<ElementNode<'a>, Error> {
    let (attribute, place) = (list.attribute, list.path());
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
            let predicate = Predicate::new(compared, place, *operator, value)?;
            let column = columns.of(Target { sub, ..list }, predicate.form(), false);
            Ok(ElementNode::Compare(sub, column, predicate))
        }
        Expression::Element { .. } => Err(Error::invalid_filter(format_args!(
            "{place}: [ ] cannot be nested in [ ]"
        ))),
    }
}

impl ResolvedFilter<'_> {
    /// Returns whether a representation matches. It must be complete, with `id`, `meta` and all
    /// readOnly attributes, in canonical spelling.
    ///
    /// Each value is read and folded once, regardless of the number of terms that compare it. Every
    /// comparison takes units from `budget`.
    ///
    /// # Errors
    ///
    /// [`BudgetExhausted`] if the evaluation needs more units than are left.
    pub fn matches(
        &self,
        representation: &Object,
        budget: &ComparisonBudget,
    ) -> Result<bool, BudgetExhausted> {
        let mut evaluation =
            Evaluation::new(&self.columns, Source::Resource(representation), budget);
        let matches = self.root.matches(&mut evaluation)?;
        evaluation.meter.settle()?;
        Ok(matches)
    }
}

impl Node<'_> {
    fn matches(&self, evaluation: &mut Evaluation<'_, '_>) -> Result<bool, BudgetExhausted> {
        match self {
            Node::And(nodes) => {
                for node in nodes {
                    if !node.matches(evaluation)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Node::Or(nodes) => {
                for node in nodes {
                    if node.matches(evaluation)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Node::Not(node) => Ok(!node.matches(evaluation)?),
            Node::ExtensionPresent(uri) => {
                evaluation.meter.spend(1)?;
                let extension = match evaluation.source {
                    Source::Resource(resource) => resource.get(*uri),
                    Source::Elements(_) => None,
                };
                Ok(extension.is_some_and(has_value))
            }
            Node::Always(matches) => {
                evaluation.meter.spend(1)?;
                Ok(*matches)
            }
            Node::Present(target, None) => {
                evaluation.meter.spend(1)?;
                Ok(evaluation.source.value(*target).is_some_and(has_value))
            }
            Node::Present(_, Some(column)) => {
                evaluation.any(*column, |_| 1, ColumnValue::is_present)
            }
            // RFC 7644 §3.4.2.2 (F9): no element has a value. It is not enough that one element has
            // none.
            Node::Compare(_, column, Predicate::Absent) => {
                Ok(!evaluation.any(*column, |_| 1, ColumnValue::is_present)?)
            }
            Node::Compare(_, column, predicate) => evaluation.any(
                *column,
                |seen| predicate.cost(seen),
                |seen| predicate.passes(seen),
            ),
            Node::Element(target, node) => {
                let elements = evaluation.elements(*target);
                if elements == 0 {
                    evaluation.meter.spend(1)?;
                }
                for element in 0..elements {
                    if node.matches(element, evaluation)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }
}

impl ElementNode<'_> {
    /// Returns whether one element matches.
    fn matches(
        &self,
        element: usize,
        evaluation: &mut Evaluation<'_, '_>,
    ) -> Result<bool, BudgetExhausted> {
        match self {
            ElementNode::And(nodes) => {
                for node in nodes {
                    if !node.matches(element, evaluation)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            ElementNode::Or(nodes) => {
                for node in nodes {
                    if node.matches(element, evaluation)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            ElementNode::Not(node) => Ok(!node.matches(element, evaluation)?),
            ElementNode::Present(column) => {
                evaluation.at(*column, element, |_| 1, ColumnValue::is_present)
            }
            ElementNode::Compare(_, column, predicate) => evaluation.at(
                *column,
                element,
                |seen| predicate.cost(seen),
                |seen| predicate.passes(seen),
            ),
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

    /// Returns for each element whether it matches.
    ///
    /// # Errors
    ///
    /// See [`ResolvedFilter::matches`].
    pub(crate) fn select(
        &self,
        elements: &[Value],
        budget: &ComparisonBudget,
    ) -> Result<Vec<bool>, BudgetExhausted> {
        let mut evaluation = Evaluation::new(&self.columns, Source::Elements(elements), budget);
        let selected = (0..elements.len())
            .map(|element| self.root.matches(element, &mut evaluation))
            .collect::<Result<_, _>>()?;
        evaluation.meter.settle()?;
        Ok(selected)
    }
}
