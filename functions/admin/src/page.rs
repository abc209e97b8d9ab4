//! Lists: pages, their parameters and their cursors.
//!
//! A cursor is a place in one list, with a digest of the list and the place: one that was changed, or that was issued for
//! another list, is 400. It grants no access: the request chooses the list, and the place only says where the page
//! begins. So the digest needs no key and no expiry, and a cursor of the event log can be followed for ever; those of SCIM
//! (`shared/directory/src/model/cursor.rs`) expire after what ServiceProviderConfig announces (RFC 9865 §5), and can
//! tell the two failures apart.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use directory::{DirectoryId, Part, ResourceId};
use gateway::size::Room;
use gateway::{Problem, QueryParams};
use http::request::Parts;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use utoipa::openapi::path::ParameterIn;
use utoipa::{IntoParams, ToSchema};

use crate::{Json, too_large};

/// Length of the digest in a cursor, in bytes.
const DIGEST_BYTES: usize = 12;
/// Maximum number of items in a page.
const MAX_LIMIT: usize = 200;
/// Number of items in a page if the request does not say.
const DEFAULT_LIMIT: usize = 100;

/// The parameters of every list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// `next_cursor` of the previous page.
    pub cursor: Option<String>,
    /// Maximum number of items in the page.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 200, default = 100)]
    #[serde(default, deserialize_with = "from_text")]
    pub limit: Option<Limit>,
}

/// The number of items in a page.
pub struct Limit(usize);

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let limit = text.parse().ok();
        let limit = limit.filter(|limit| (1..=MAX_LIMIT).contains(limit));
        limit
            .map(Self)
            .ok_or_else(|| format!("must be a number from 1 to {MAX_LIMIT}"))
    }
}

/// Reads a parameter that is not a text.
pub fn from_text<'de, D, T>(value: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: std::fmt::Display>,
{
    let text = String::deserialize(value)?;
    text.parse().map(Some).map_err(D::Error::custom)
}

/// The directory in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(
    dead_code,
    reason = "it describes the path; the handler takes the id from it"
)]
pub struct DirectoryPath {
    /// The id of the directory.
    #[param(format = "uuid")]
    directory: String,
}

/// The directory and the resource in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(
    dead_code,
    reason = "it describes the path; the handler takes the ids from it"
)]
pub struct ResourceIds {
    /// The id of the directory.
    #[param(format = "uuid")]
    directory: String,
    /// The id of the user or group.
    #[param(format = "uuid")]
    id: String,
}

/// No parameters but those of every list.
#[derive(Deserialize, IntoParams)]
pub struct NoFilter {}

/// The query of a list: the parameters that `F`, `G` and [`Paging`] describe, and no others.
pub struct Query<F, G = NoFilter> {
    /// Which items the list has.
    pub filter: F,
    /// Which items the list has, too.
    pub also: G,
    paging: Paging,
}

impl<F, G, S> FromRequestParts<S> for Query<F, G>
where
    F: DeserializeOwned + IntoParams,
    G: DeserializeOwned + IntoParams,
    S: Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Ok(params) = QueryParams::from_request_parts(parts, state).await;
        let known = [names::<F>(), names::<G>(), names::<Paging>()];
        for name in params.names() {
            let mut known = known.iter().flatten();
            if !known.any(|known| known.eq_ignore_ascii_case(name)) {
                return Err(Problem::parameter(name, "is not a parameter of this list"));
            }
        }
        let [filter, also, paging] = &known;
        Ok(Self {
            filter: read(&params, filter)?,
            also: read(&params, also)?,
            paging: read(&params, paging)?,
        })
    }
}

/// Returns the names of the parameters that `P` describes.
fn names<P: IntoParams>() -> Vec<String> {
    let all = P::into_params(|| Some(ParameterIn::Query)).into_iter();
    all.map(|parameter| parameter.name).collect()
}

fn read<P: DeserializeOwned>(params: &QueryParams, names: &[String]) -> Result<P, Problem> {
    let values = names.iter().filter_map(|name| {
        let value = params.get(name)?;
        Some((name.clone(), Value::from(value)))
    });
    let values: Map<String, Value> = values.collect();
    serde_path_to_error::deserialize(Value::Object(values)).map_err(|error| {
        let name = error.path().to_string();
        Problem::parameter(&name, error.into_inner().to_string())
    })
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct List<T> {
    /// The items, which may be fewer than `limit`.
    pub data: Vec<T>,
    /// `cursor` of the next page, or `null` at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
    /// The items that this version of Rollcall cannot read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unreadable>,
}

/// An item of a list that this version of Rollcall cannot read.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Unreadable {
    /// What it is, such as `directory`, `user`, `group` or `event`.
    #[serde(rename = "type")]
    #[schema(example = "user")]
    kind: &'static str,
    /// Its id.
    #[schema(format = "uuid")]
    id: String,
    /// The directory that it is in, in lists over several directories.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid", nullable = false)]
    directory_id: Option<DirectoryId>,
    /// Why it cannot be read, and what to do.
    reason: String,
}

impl Unreadable {
    /// Describes an item, in a list over several directories with the one that it is in.
    pub fn new(item: directory::Unreadable, directory_id: Option<DirectoryId>) -> Self {
        Self {
            kind: item.kind,
            id: item.id,
            directory_id,
            reason: item.reason,
        }
    }
}

/// Which page of which list.
pub struct Page {
    list: String,
    /// Where the page begins, or `None` for the beginning of the list.
    pub at: Option<String>,
    /// Maximum number of items.
    pub limit: usize,
}

impl<F, G> Query<F, G> {
    /// Returns the page of `list` that the query asks for. `list` identifies the list in cursors.
    ///
    /// # Errors
    ///
    /// 400 for a cursor that was issued for another list.
    pub fn page(&self, list: String) -> Result<Page, Problem> {
        let cursor = self.paging.cursor.as_deref();
        let at = cursor.map(|text| decoded(&list, text).ok_or_else(wrong_cursor));
        Ok(Page {
            at: at.transpose()?,
            limit: self
                .paging
                .limit
                .as_ref()
                .map_or(DEFAULT_LIMIT, |limit| limit.0),
            list,
        })
    }
}

impl Page {
    /// Returns the place where the page begins.
    ///
    /// # Errors
    ///
    /// 400 for a cursor that does not contain such a place.
    pub fn place<T: FromStr>(&self) -> Result<Option<T>, Problem> {
        let place = self
            .at
            .as_deref()
            .map(|text| text.parse::<T>().map_err(|_| wrong_cursor()));
        place.transpose()
    }

    /// Returns the part of the users or groups of a directory.
    ///
    /// # Errors
    ///
    /// 400 for a cursor that does not contain an id.
    pub fn part(&self) -> Result<Part, Problem> {
        Ok(Part {
            after: self.place::<ResourceId>()?,
            limit: self.limit,
        })
    }

    /// Returns the cursor of the page that begins after a place.
    pub fn cursor(&self, place: &str) -> String {
        let mut bytes = digest(&self.list, place);
        bytes.extend(place.as_bytes());
        BASE64.encode(bytes)
    }

    /// Returns the page: its items, each with the place after it, those that cannot be read, and the cursor to `next`. It
    /// ends before the first item that does not fit into a response, with the cursor to that item.
    ///
    /// # Errors
    ///
    /// 400 when not even the first item fits.
    pub fn answer<P: ToString, T: Serialize>(
        &self,
        items: impl IntoIterator<Item = (P, T)>,
        unreadable: impl IntoIterator<Item = Unreadable>,
        next: Option<P>,
    ) -> Result<Json<List<T>>, Problem> {
        let mut room = Room::default();
        let unreadable = unreadable.into_iter();
        let unreadable = unreadable.filter(|item| room.takes(item)).collect();
        let (mut data, mut last, mut next) = (vec![], None, next);
        for (place, item) in items {
            if !room.takes(&item) {
                if data.is_empty() {
                    return Err(too_large());
                }
                next = last;
                break;
            }
            data.push(item);
            last = Some(place);
        }
        Ok(Json(List {
            data,
            next_cursor: next.map(|place| self.cursor(&place.to_string())),
            unreadable,
        }))
    }
}

fn wrong_cursor() -> Problem {
    Problem::parameter("cursor", "was not issued for this list")
}

fn digest(list: &str, place: &str) -> Vec<u8> {
    let digest = Sha256::new()
        .chain_update((list.len() as u64).to_be_bytes())
        .chain_update(list)
        .chain_update(place)
        .finalize();
    digest.into_iter().take(DIGEST_BYTES).collect()
}

fn decoded(list: &str, text: &str) -> Option<String> {
    let bytes = BASE64.decode(text).ok()?;
    let (own, place) = bytes.split_at_checked(DIGEST_BYTES)?;
    let place = std::str::from_utf8(place).ok()?;
    (digest(list, place) == own).then(|| place.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_valid_for_one_list_and_cannot_be_changed() {
        let page = Page {
            list: "users of d1".to_owned(),
            at: None,
            limit: 1,
        };
        let cursor = page.cursor("u1");
        assert_eq!(decoded("users of d1", &cursor).as_deref(), Some("u1"));
        assert_eq!(decoded("users of d2", &cursor), None);
        for (index, letter) in cursor.char_indices() {
            let other = if letter == 'A' { "B" } else { "A" };
            let mut changed = cursor.clone();
            changed.replace_range(index..=index, other);
            assert_ne!(
                decoded("users of d1", &changed).as_deref(),
                Some("u1"),
                "{changed}"
            );
        }
        assert_eq!(decoded("users of d1", ""), None);
    }

    #[test]
    fn the_description_has_the_limits_that_are_applied() {
        let limit = &Paging::into_params(|| None)[1];
        let described = serde_json::to_value(limit).unwrap();
        let schema = &described["schema"];
        assert_eq!(schema["maximum"], MAX_LIMIT);
        assert_eq!(schema["default"], DEFAULT_LIMIT);
    }
}
