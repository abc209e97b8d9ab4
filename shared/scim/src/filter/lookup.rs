//! Finds the values that every match has, so that a store can use an index instead of reading all
//! resources.

use std::collections::BTreeSet;

use super::predicate::Predicate;
use super::resolve::{ElementNode, Node, ResolvedFilter};
use crate::schema::{AttributePath, Target};

impl ResolvedFilter<'_> {
    /// Returns the text that the value at `path` equals in every match, so that a store can look up
    /// resources by this value.
    ///
    /// The path is in canonical spelling: `userName`, `emails.value`, `id`. Returns `None` if a
    /// match does not need such a value, as below `or` and `not`.
    pub fn required_equality(&self, path: &str) -> Option<&str> {
        match self.root.alternatives(&[path])?.as_slice() {
            [(_, value)] => Some(value),
            _ => None,
        }
    }

    /// Returns pairs of a path and a text, of which every match satisfies at least one: the value
    /// at the path equals the text. Among several such sets it returns the smallest one, and among
    /// equally small sets the one with the earliest path. Returns `None` if a match does not need
    /// such a value.
    pub fn alternatives<'p>(&self, paths: &[&'p str]) -> Option<Vec<(&'p str, &str)>> {
        let found = self.root.alternatives(paths)?;
        let named = |(path, value)| Some((*paths.get(path)?, value));
        found.into_iter().map(named).collect()
    }

    /// Returns whether the filter is a single comparison of the value at `path`, as
    /// [`ResolvedFilter::required_equality`] returns it.
    pub fn is_exactly(&self, path: &str) -> bool {
        let single = match &self.root {
            Node::Compare(..) => true,
            Node::Element(_, node) => matches!(node, ElementNode::Compare(..)),
            _ => false,
        };
        single && self.required_equality(path).is_some()
    }

    /// Returns the elements of a multi-valued attribute, such as `members`, that are needed to
    /// evaluate the filter.
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
    /// None: the filter does not use the attribute.
    None,
    /// The elements with one of these values.
    With(BTreeSet<&'f str>),
    /// All elements.
    All,
}

impl Node<'_> {
    /// Collects the values that `eq` compares with the `value` of the elements. Returns false if
    /// the filter uses the elements in any other way.
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
            Node::Compare(target, _, predicate) if is(target) => {
                let by_value = target.sub.is_some_and(|sub| sub.name == "value");
                match predicate.required_text().filter(|_| by_value) {
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

    /// See [`ResolvedFilter::alternatives`]. The pairs contain the index of the path.
    fn alternatives(&self, paths: &[&str]) -> Option<Vec<(usize, &str)>> {
        match self {
            Node::And(nodes) => fewest(nodes.iter().map(|node| node.alternatives(paths))),
            Node::Or(nodes) => any_of(nodes.iter().map(|node| node.alternatives(paths))),
            Node::Compare(target, _, predicate) => required_pair(target.path(), predicate, paths),
            Node::Element(target, node) => node.alternatives(target.path(), paths),
            _ => None,
        }
    }
}

/// Returns the pair that a comparison requires, if it is about one of the paths.
fn required_pair<'t>(
    place: AttributePath<'_>,
    predicate: &'t Predicate,
    paths: &[&str],
) -> Option<Vec<(usize, &'t str)>> {
    let path = paths.iter().position(|path| is_path(place, path))?;
    Some(vec![(path, predicate.required_text()?)])
}

/// Every match satisfies all terms, so the term with the fewest pairs is sufficient.
fn fewest<'t>(
    all: impl Iterator<Item = Option<Vec<(usize, &'t str)>>>,
) -> Option<Vec<(usize, &'t str)>> {
    all.flatten().min_by_key(|pairs| {
        let path = pairs.iter().map(|(path, _)| *path).max();
        (pairs.len(), path)
    })
}

/// Every match satisfies one of the terms, so all of them must have pairs.
fn any_of<'t>(
    all: impl Iterator<Item = Option<Vec<(usize, &'t str)>>>,
) -> Option<Vec<(usize, &'t str)>> {
    let all: Option<Vec<_>> = all.collect();
    Some(all?.into_iter().flatten().collect())
}

impl ElementNode<'_> {
    /// See [`Node::collect`], for a filter within `[ ]`.
    fn collect<'f>(&'f self, values: &mut BTreeSet<&'f str>) -> bool {
        match self {
            ElementNode::Or(nodes) => nodes.iter().all(|node| node.collect(values)),
            // One term that identifies the element is sufficient, because the other terms are about
            // the same element.
            ElementNode::And(nodes) => nodes.iter().any(|node| node.collect(values)),
            ElementNode::Compare(Some(sub), _, predicate) if sub.name == "value" => {
                match predicate.required_text() {
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
            ElementNode::Compare(Some(sub), _, predicate) => {
                required_pair(list.sub(&sub.name), predicate, paths)
            }
            ElementNode::Compare(None, _, predicate) => required_pair(list, predicate, paths),
            _ => None,
        }
    }
}

fn is_path(place: AttributePath<'_>, path: &str) -> bool {
    place.to_string().eq_ignore_ascii_case(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Filter, ResourceType};

    /// RFC 7644 §3.4.2.2 (G9).
    #[test]
    fn the_members_that_a_filter_depends_on() {
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
    fn a_required_equality_holds_for_every_match() {
        let demands = |filter: &str, path: &str| {
            let parsed = Filter::parse(filter).unwrap();
            let resolved = parsed.resolve(ResourceType::user()).unwrap();
            resolved.required_equality(path).map(str::to_owned)
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
    fn every_match_has_one_of_the_alternatives() {
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
            // The smallest set, and among equally small sets the one with the earliest path.
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
}
