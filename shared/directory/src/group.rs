//! Groups and their members.
//!
//! Which members a request changes is decided from the request as far as possible, so the change of one member costs the same
//! in a group of ten and of a hundred thousand. A group that this process has read or written need not be read first
//! (`table/group_cache.rs`).
//!
//! | file | holds |
//! |---|---|
//! | `write.rs` | PUT and PATCH: load, decide, commit; the write in one transaction |
//! | `staged.rs` | the write of more members than one transaction holds, with its state diagram |
//! | `create.rs`, `delete.rs` | creation and deletion, of small and large groups |
//! | `membership.rs` | what a request asks for the members, and its limits |
//! | `members.rs` | the rows of members, how they are read, and how SCIM shows them |
//! | `memberships.rs` | the groups of a user, and the end of the memberships of a deleted resource |
//! | `cycles.rs` | refuses a group that would become a member of itself |
//!
//! A small change is tried as one transaction. Its conditions (the version of the group, who is a member, who exists) are the
//! check; only if one fails is more read, and the request decided again.
//!
//! What recovery does with interrupted writes is in `resource/recovery.rs`. The types of membership changes are in
//! `model/member.rs`: [`MembershipDelta`](crate::model::member::MembershipDelta) is used from the parsed request to the event.

mod create;
mod cycles;
mod delete;
pub(crate) mod members;
mod membership;
pub(crate) mod memberships;
mod staged;
mod write;

use std::sync::Arc;

use scim::Object;
use serde_json::Value;

use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::id::ResourceId;
use crate::model::member::Members;
use crate::model::resource_kind::GROUP;
use crate::model::stored::Stored;
use crate::table::group_cache::CachedGroup;
use crate::table::store::Store;

/// A group, with or without its members.
#[derive(Clone, Debug)]
pub struct Group {
    /// The group without its members.
    pub stored: Stored,
    /// Its members, if they were read.
    pub members: Option<Arc<Members>>,
}

impl Group {
    /// Returns the number of members.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.stored.group.members.unwrap_or(0)
    }

    /// The group as SCIM shows it to `caller`, without members if they were not read.
    #[must_use]
    pub fn represent(&self, caller: &Caller) -> Object {
        let mut computed = Object::new();
        if let Some(members) = self.members.as_ref().filter(|members| !members.is_empty()) {
            let elements = members::elements(caller, members);
            computed.insert("members".to_owned(), Value::Array(elements));
        }
        self.stored
            .represent(caller, &caller.types().group, computed)
    }
}

impl Store {
    /// Reads a group consistently, with its members if there are at most `members`.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] and [`Error::Broken`].
    pub async fn group(
        &self,
        caller: &Caller,
        id: ResourceId,
        members: u64,
    ) -> Result<Option<Group>, Error> {
        let Some(group) = self.read(caller, &GROUP, id).await? else {
            return Ok(None);
        };
        if group.group.members.unwrap_or(0) > members || members == 0 {
            self.known().put(
                caller,
                CachedGroup {
                    group: group.clone(),
                    members: None,
                },
            );
            return Ok(Some(Group {
                stored: group,
                members: None,
            }));
        }
        let whole = match self.members_in(caller, &group).await? {
            Some(members) => Some((group, members)),
            None => self.group_with_members(caller, id).await?,
        };
        Ok(whole.map(|(stored, members)| Group {
            stored,
            members: Some(members),
        }))
    }
}
