//! What a path of a PATCH operation, or a name in a client's object, means (RFC 7644 §3.5.2 figure 7, §3.10).

use crate::error::Error;
use crate::filter::{ElementFilter, Filter, MAX_FILTER_BYTES, Parser};
use crate::schema::{Located, ResourceType, Schema, Target};

/// The URIs of RFC 7643 §10.3 for the base schemas of resource types begin like this. No extension has one.
const CORE: &str = "urn:ietf:params:scim:schemas:core:";

/// What a path names.
pub(crate) enum Selected<'a> {
    /// The resource itself, by the URI of its base schema.
    Base,
    /// All attributes of an extension.
    Extension(&'a Schema),
    /// An attribute or sub-attribute, of all elements or of those that a filter selects.
    Attribute(Target<'a>, Option<Filter>),
    /// An attribute of an extension that the resource type does not have.
    Unregistered,
}

impl ResourceType {
    /// Reads `attr`, `attr.sub`, `attr[filter]` or `attr[filter].sub`, each with or without a URI, or a URI alone.
    ///
    /// # Errors
    ///
    /// 400 `invalidPath` for what is malformed and for an attribute that the type does not have, `invalidFilter` for
    /// what is wrong within the brackets: RFC 7644 table 9 names the filter of a PATCH path there.
    pub(crate) fn select(&self, text: &str) -> Result<Selected<'_>, Error> {
        let unknown =
            || Error::invalid_path(text, format_args!("{} has no such attribute", self.name));
        if text.len() >= MAX_FILTER_BYTES {
            return Err(Error::invalid_path(text, "it is too long"));
        }
        let mut parser = Parser::new(text.trim_ascii());
        let malformed = |_| Error::invalid_path(text, "it is malformed");
        let word = parser.path().map_err(malformed)?;
        let target = match self.locate(word) {
            Some(Located::Attribute(target)) => target,
            None if !self.is_strict() && is_of_unregistered(self, word) => {
                return Ok(Selected::Unregistered);
            }
            None => return Err(unknown()),
            Some(other) => {
                parser.end().map_err(malformed)?;
                return Ok(match other {
                    Located::Extension(schema) => Selected::Extension(schema),
                    _ => Selected::Base,
                });
            }
        };
        if !parser.at('[') {
            parser.end().map_err(malformed)?;
            return Ok(Selected::Attribute(target, None));
        }
        if target.sub.is_some() || !target.attribute.multi_valued {
            return Err(Error::invalid_path(
                text,
                format_args!(
                    "{} is single-valued, so it cannot be followed by [ ]",
                    target.place()
                ),
            ));
        }
        let expression = parser.element_filter(0)?;
        ElementFilter::resolve(&expression, target)?;
        let sub = if parser.eat('.') {
            let name = parser.path().map_err(malformed)?;
            let sub = self.sub_attribute(target.attribute, name);
            Some(sub.ok_or_else(unknown)?)
        } else {
            None
        };
        parser.end().map_err(malformed)?;
        let target = Target { sub, ..target };
        Ok(Selected::Attribute(target, Some(Filter::of(expression))))
    }

    /// The same for a name in an object of attributes of `within`, or of the resource itself. A name with a URI of its
    /// own stands for itself.
    pub(crate) fn select_within(
        &self,
        within: Option<&Schema>,
        name: &str,
    ) -> Result<Selected<'_>, Error> {
        let before_filter = name.split('[').next().unwrap_or_default();
        match within {
            Some(schema) if !before_filter.contains(':') => {
                self.select(&format!("{}:{name}", schema.id))
            }
            _ => self.select(name),
        }
    }
}

/// Whether a name has the URI of an extension that the type does not have, or is one.
fn is_of_unregistered(ty: &ResourceType, name: &str) -> bool {
    let is_core = name
        .get(..CORE.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(CORE));
    match name.rsplit_once(':') {
        Some((uri, _)) => uri.contains(':') && !is_core && ty.schema_of(uri).is_none(),
        None => false,
    }
}
