//! Pages: how many, and from where on.
//!
//! A cursor is a place in one list, with a digest of the list and the place: one
//! that was changed, or is of another list, is 400. It opens nothing: the list is
//! chosen by the request, and the place only says where in it to begin.

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use gateway::size::Room;
use gateway::{Problem, QueryParams};
use http::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{json, too_large};

/// How much of the digest is in a cursor, in bytes.
const DIGEST_BYTES: usize = 12;
/// How many of a list an answer has at most.
pub const MAX_LIMIT: usize = 200;
/// How many it has if nobody says.
pub const DEFAULT_LIMIT: usize = 100;

/// Which page of which list.
pub struct Page {
    list: String,
    /// Where it begins; at the beginning of the list if nowhere.
    pub at: Option<String>,
    /// How many there are in it at most.
    pub limit: usize,
}

impl Page {
    /// The page of `list` that a query asks for, with no other parameters than `known`.
    pub fn read(params: &QueryParams, known: &[&str], list: String) -> Result<Self, Problem> {
        for name in params.names() {
            let known = known.iter().any(|known| known.eq_ignore_ascii_case(name));
            if !known
                && !["cursor", "limit"]
                    .iter()
                    .any(|own| own.eq_ignore_ascii_case(name))
            {
                return Err(Problem::parameter(name, "is not known here"));
            }
        }
        let limit = match params.get("limit") {
            None => DEFAULT_LIMIT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                .ok_or_else(|| {
                    Problem::parameter("limit", format!("must be a number from 1 to {MAX_LIMIT}"))
                })?,
        };
        let at = params
            .get("cursor")
            .map(|text| decoded(&list, text).ok_or_else(not_ours));
        let at = at.transpose()?;
        Ok(Self { list, at, limit })
    }

    /// The place where it begins, as what it is.
    pub fn place<T: std::str::FromStr>(&self) -> Result<Option<T>, Problem> {
        let place = self
            .at
            .as_deref()
            .map(|text| text.parse::<T>().map_err(|_| not_ours()));
        place.transpose()
    }

    /// The cursor that leads on from a place.
    pub fn cursor(&self, place: &str) -> String {
        let mut bytes = digest(&self.list, place);
        bytes.extend(place.as_bytes());
        BASE64.encode(bytes)
    }

    /// The answer: what is there of the list, each with the place after it, what of it cannot be read, and the cursor to
    /// `next`. It ends before the first one for which there is no room, with the cursor that leads to it.
    pub fn answer<P: ToString>(
        &self,
        items: impl IntoIterator<Item = (P, Value)>,
        unreadable: Vec<Value>,
        next: Option<P>,
    ) -> Result<Response, Problem> {
        let mut room = Room::default();
        let unreadable: Vec<Value> = unreadable
            .into_iter()
            .filter(|item| room.takes(item))
            .collect();
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
        let next = next.map(|place| self.cursor(&place.to_string()));
        let mut answer = json!({"data": data, "next_cursor": next});
        if let (Value::Object(members), false) = (&mut answer, unreadable.is_empty()) {
            members.insert("unreadable".to_owned(), Value::Array(unreadable));
        }
        Ok(json(StatusCode::OK, &answer))
    }
}

/// 400 for a cursor that is not of this list.
pub fn not_ours() -> Problem {
    Problem::parameter("cursor", "is not a next_cursor of this list")
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
    fn a_cursor_is_of_one_list_and_not_to_be_changed() {
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
}
