//! Changes of memberships: what a client asks for, and what it changes.

use std::collections::BTreeMap;

use scim::{MemberChange, Object};
use serde_json::Value;

use crate::model::error::Error;
use crate::model::member::{Member, Members, MembershipDelta};

/// How many memberships may begin and end in one request: what their events
/// and the list of removals take of the 4 MB of a transaction.
const MAX_CHANGES: usize = 60_000;

/// What a client may call a member, in bytes.
const MAX_DISPLAY_BYTES: usize = 1_024;

/// What a change of a group writes besides members, at most: the group, its event, its count or the count of groups
/// within groups, a note of what is to follow, and two pointers that move.
pub(crate) const OTHER_ACTIONS: usize = 8;

/// How many groups may become members in one request: each is an action of one transaction.
const MAX_ADDED_GROUPS: usize = 90;

/// What a client asks for the members of a group.
#[derive(Clone, Debug)]
pub(crate) enum MembershipRequest {
    /// The members to add and to remove, by name. Some may be members already, or not be. The type of a removed one is
    /// not known.
    Named(MembershipDelta),
    /// All members of the group after the request.
    Exactly(Members),
    /// A change that depends on the present members, such as a filter on them.
    Depends,
}

impl MembershipRequest {
    pub(crate) fn new(change: MemberChange) -> Result<Self, Error> {
        Ok(match change {
            MemberChange::Named { added, removed } => {
                // A text that is not an id names no member, so there is nothing to remove (X15).
                let removed = removed.iter().filter_map(|id| id.parse().ok());
                Self::Named(MembershipDelta {
                    added: parse_members(added)?,
                    removed: removed.map(|id| (id, Member::default())).collect(),
                })
            }
            MemberChange::Exactly(members) => Self::Exactly(parse_members(members)?),
            MemberChange::Depends => Self::Depends,
        })
    }
}

/// Reads the elements of `members`, by their `value`.
///
/// # Errors
///
/// 400 `invalidValue` if a `value` is not an id, or a `display` is too long.
pub(crate) fn parse_members(elements: BTreeMap<String, Object>) -> Result<Members, Error> {
    let mut members = Members::new();
    let mut unknown = vec![];
    for (id, element) in elements {
        let Ok(id) = id.parse() else {
            unknown.push(id);
            continue;
        };
        let text = |name: &str| element.get(name).and_then(Value::as_str);
        let display = text("display").filter(|display| !display.is_empty());
        if display.is_some_and(|display| display.len() > MAX_DISPLAY_BYTES) {
            let limit = format_args!("is longer than {MAX_DISPLAY_BYTES} bytes");
            return Err(scim::Error::invalid_value("members.display", limit).into());
        }
        let group = text("type").is_some_and(|ty| ty.eq_ignore_ascii_case("Group"))
            || text("$ref").is_some_and(|uri| uri.contains("/Groups/"));
        let display = display.map(str::to_owned);
        members.insert(id, Member { group, display });
    }
    if unknown.is_empty() {
        Ok(members)
    } else {
        Err(unknown_members(&unknown))
    }
}

/// Returns 400 `invalidValue` with the first of the ids that are not a user or group of the directory (G4).
pub(crate) fn unknown_members(ids: &[impl ToString]) -> Error {
    const NAMED: usize = 5;
    const CHARS: usize = 60;
    let named: Vec<String> = ids
        .iter()
        .take(NAMED)
        .map(|id| {
            format!(
                "\"{}\"",
                id.to_string().chars().take(CHARS).collect::<String>()
            )
        })
        .collect();
    let more = match ids.len() {
        count if count > NAMED => format!(" and {} more", count - NAMED),
        _ => String::new(),
    };
    let what = format_args!(
        "there is no user or group of the id {}{more} in this directory. Nothing was changed. Assign the members first.",
        named.join(", ")
    );
    scim::Error::invalid_value("members.value", what).into()
}

/// Returns whether one transaction of at most `actions` actions holds the change.
pub(crate) fn fits_one_transaction(delta: &MembershipDelta, actions: usize) -> bool {
    OTHER_ACTIONS + 2 * delta.added.len() + delta.removed.len() <= actions
}

/// # Errors
///
/// [`Error::TooLarge`] if more memberships would begin or end than one request may change.
pub(crate) fn check_changes(changes: usize) -> Result<(), Error> {
    if changes > MAX_CHANGES {
        return Err(Error::TooLarge(format!(
            "{changes} memberships would begin or end; one request may change {MAX_CHANGES}."
        )));
    }
    Ok(())
}

/// # Errors
///
/// [`Error::TooLarge`] if more groups would become members than one transaction holds.
pub(crate) fn check_added_groups(delta: &MembershipDelta) -> Result<(), Error> {
    if delta.added_groups().count() > MAX_ADDED_GROUPS {
        return Err(Error::TooLarge(format!(
            "At most {MAX_ADDED_GROUPS} groups can become members in one request."
        )));
    }
    Ok(())
}
