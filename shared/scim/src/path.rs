//! Resolves paths of PATCH operations and names in objects (RFC 7644 §3.5.2 figure 7, §3.10).

use crate::error::Error;
use crate::filter::{ElementFilter, Filter, MAX_FILTER_BYTES, Parser};
use crate::schema::{Located, ResourceType, Schema, Target};

/// Prefix of the URIs of base schemas (RFC 7643 §10.3). URIs of extensions do not begin with it.
const CORE: &str = "urn:ietf:params:scim:schemas:core:";

/// What a path refers to.
pub(crate) enum Selected<'a> {
    /// The resource itself, by the URI of its base schema.
    Base,
    /// All attributes of an extension.
    Extension(&'a Schema),
    /// An attribute or sub-attribute, of all elements or of the elements that match a filter.
    Attribute(Target<'a>, Option<Filter>),
    /// An attribute of an extension that the resource type does not have.
    Unregistered,
}

impl ResourceType {
    /// Resolves `attr`, `attr.sub`, `attr[filter]` or `attr[filter].sub`, each with or without a
    /// URI, or a URI alone.
    ///
    /// # Errors
    ///
    /// 400 `invalidPath` for a malformed path and for an attribute that the type does not have; 400
    /// `invalidFilter` for an error within the brackets, as RFC 7644 §3.12 table 9 lists it.
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
                    target.path()
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

    /// Resolves a name in an object with the attributes of the schema `within`, or of the resource
    /// itself if it is `None`. A name with a URI is resolved independently of `within`.
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

/// Returns whether a name is, or begins with, the URI of an extension that the type does not have.
fn is_of_unregistered(ty: &ResourceType, name: &str) -> bool {
    let is_core = name
        .get(..CORE.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(CORE));
    match name.rsplit_once(':') {
        Some((uri, _)) => uri.contains(':') && !is_core && ty.schema_of(uri).is_none(),
        None => false,
    }
}
