//! Cursors (RFC 9865): where a page ended, signed.
//!
//! A cursor holds all that is needed to go on, so nothing is kept for it. The
//! signature binds it to its directory, whose key nobody else has, and to its
//! list: the type, the filter and the order. In any other place it is none.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use scim::ScimType;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::id::{ResourceId, random_bytes};

/// How long a cursor leads on, in seconds (`cursorTimeout`). Each page brings a new one.
pub const CURSOR_TIMEOUT: u32 = 3_600;

/// How many bytes of the signature a cursor has: half of it, which is still 128 bits.
const SIGNATURE_BYTES: usize = 16;

/// What the cursors of one directory are signed with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct CursorKey([u8; 32]);

impl CursorKey {
    pub(crate) fn random() -> Self {
        Self(random_bytes())
    }
}

impl fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CursorKey(hidden)")
    }
}

impl From<CursorKey> for String {
    fn from(key: CursorKey) -> Self {
        STANDARD.encode(key.0)
    }
}

impl TryFrom<String> for CursorKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let bytes = STANDARD.decode(text).ok();
        let key = bytes.and_then(|bytes| bytes.try_into().ok());
        key.map(Self).ok_or("a cursor key is 32 bytes in Base64")
    }
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PagePosition {
    /// With the first resource after this one, in the order of ids.
    After(ResourceId),
    /// It ends with the last resource before this one.
    Before(ResourceId),
    /// With the resource that has so many before it, of a list that is sorted.
    Number(u64),
    /// It ends before the resource that has so many before it, of a list that is sorted.
    Until(u64),
}

impl PagePosition {
    fn to_bytes(self) -> (u8, [u8; ResourceId::BYTES]) {
        match self {
            Self::After(id) => (0, id.to_bytes()),
            Self::Before(id) => (1, id.to_bytes()),
            Self::Number(number) => (2, u128::from(number).to_be_bytes()),
            Self::Until(number) => (3, u128::from(number).to_be_bytes()),
        }
    }

    fn from_bytes(kind: u8, bytes: [u8; ResourceId::BYTES]) -> Option<Self> {
        let number = || u64::try_from(u128::from_be_bytes(bytes)).ok();
        match kind {
            0 => Some(Self::After(ResourceId::from_bytes(bytes))),
            1 => Some(Self::Before(ResourceId::from_bytes(bytes))),
            2 => number().map(Self::Number),
            3 => number().map(Self::Until),
            _ => None,
        }
    }

    /// The cursor that leads there in a list, until [`CURSOR_TIMEOUT`] from `now`.
    pub(crate) fn to_cursor(
        self,
        caller: &Caller,
        list: &str,
        now: Timestamp,
    ) -> Result<String, Error> {
        let until = u32::try_from(now.as_second())
            .unwrap_or(u32::MAX)
            .saturating_add(CURSOR_TIMEOUT);
        let (kind, place) = self.to_bytes();
        let mut bytes = vec![kind];
        bytes.extend(until.to_be_bytes());
        bytes.extend(place);
        let signature = sign(caller, list, &bytes)?.finalize().into_bytes();
        bytes.extend(signature.iter().take(SIGNATURE_BYTES));
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Where a cursor leads to.
    ///
    /// # Errors
    ///
    /// 400 `invalidCursor` for one that was not made for this list, `expiredCursor` for one that is too old.
    pub(crate) fn from_cursor(
        caller: &Caller,
        list: &str,
        cursor: &str,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let invalid = || {
            refused(
                ScimType::InvalidCursor,
                "cursor: it is none of this list: filter, sortBy and sortOrder must be those of the page it came with.",
            )
        };
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| invalid())?;
        let split = bytes.len().checked_sub(SIGNATURE_BYTES);
        let (text, signature) = split
            .and_then(|at| bytes.split_at_checked(at))
            .ok_or_else(invalid)?;
        sign(caller, list, text)?
            .verify_truncated_left(signature)
            .map_err(|_| invalid())?;
        let ([kind], rest) = text.split_first_chunk().ok_or_else(invalid)?;
        let (until, place) = rest.split_first_chunk().ok_or_else(invalid)?;
        let place = place.try_into().ok();
        let place = place.and_then(|place| Self::from_bytes(*kind, place));
        let place = place.ok_or_else(invalid)?;
        if now.as_second() > i64::from(u32::from_be_bytes(*until)) {
            return Err(expired());
        }
        Ok(place)
    }
}

fn refused(scim_type: ScimType, detail: &str) -> Error {
    Error::Scim(scim::Error::new(400, Some(scim_type), detail))
}

/// 400 `expiredCursor`, for one that leads nowhere any more.
pub(crate) fn expired() -> Error {
    let detail = "cursor: it has expired. Begin again with the first page.";
    refused(ScimType::ExpiredCursor, detail)
}

fn sign(caller: &Caller, list: &str, bytes: &[u8]) -> Result<Hmac<Sha256>, Error> {
    let key = &caller.directory().cursor_key().0;
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(Error::broken)?;
    mac.update(bytes);
    mac.update(list.as_bytes());
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::id::DirectoryId;

    fn caller() -> Caller {
        Caller::any(DirectoryId::random())
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn refusal(caller: &Caller, list: &str, cursor: &str, now: Timestamp) -> Option<ScimType> {
        match PagePosition::from_cursor(caller, list, cursor, now) {
            Err(Error::Scim(error)) => error.scim_type(),
            _ => None,
        }
    }

    #[test]
    fn p8_a_cursor_leads_to_its_place_in_its_list_for_its_time() {
        let ann = caller();
        let id = ResourceId::random();
        let by_id = [PagePosition::After(id), PagePosition::Before(id)];
        for place in by_id
            .into_iter()
            .chain([PagePosition::Number(7), PagePosition::Until(7)])
        {
            let cursor = place.to_cursor(&ann, "/Users", now()).unwrap();
            let unreserved = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
            assert!(cursor.chars().all(unreserved), "{cursor}");
            let read = PagePosition::from_cursor(&ann, "/Users", &cursor, now()).unwrap();
            assert_eq!(read, place);
            let later = |seconds| Timestamp::from_second(now().as_second() + seconds).unwrap();
            assert_eq!(refusal(&ann, "/Users", &cursor, later(3_600)), None);
            let expired = refusal(&ann, "/Users", &cursor, later(3_601));
            assert_eq!(expired, Some(ScimType::ExpiredCursor));
            // Another list, and another directory.
            let invalid = Some(ScimType::InvalidCursor);
            assert_eq!(refusal(&ann, "/Groups", &cursor, now()), invalid);
            assert_eq!(refusal(&caller(), "/Users", &cursor, now()), invalid);
        }
    }

    #[test]
    fn a_key_shows_itself_to_nobody_and_is_kept_as_text() {
        let key = CursorKey::random();
        assert_eq!(format!("{key:?}"), "CursorKey(hidden)");
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<CursorKey>(&text).unwrap(), key);
        assert!(serde_json::from_str::<CursorKey>("\"AAAA\"").is_err());
    }

    proptest! {
        #[test]
        fn what_is_no_cursor_is_refused(text in ".{0,80}", at in 0usize..50, bit in 0u8..8) {
            let ann = caller();
            let invalid = Some(ScimType::InvalidCursor);
            prop_assert_eq!(refusal(&ann, "/Users", &text, now()), invalid);
            // One bit of a real one is turned.
            let cursor = PagePosition::Number(7).to_cursor(&ann, "/Users", now()).unwrap();
            let mut bytes = URL_SAFE_NO_PAD.decode(cursor).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let cursor = URL_SAFE_NO_PAD.encode(bytes);
            prop_assert_eq!(refusal(&ann, "/Users", &cursor, now()), invalid);
        }
    }
}
