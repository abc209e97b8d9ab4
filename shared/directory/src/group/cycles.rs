//! Refuses groups that would become members of themselves, also through other groups (G6).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::group::membership::{check_added_groups, unknown_members};
use crate::model::caller::Caller;
use crate::model::error::Error;
use crate::model::id::ResourceId;
use crate::model::member::MembershipDelta;
use crate::model::resource_kind::GROUP;
use crate::model::stored::Stored;
use crate::table::item::{self, Item};
use crate::table::key::Key;
use crate::table::store::Store;
use crate::table::transaction::{Change, Condition};

/// How often a group had become a member of a group when it was looked for circles.
pub(crate) struct Nesting(Option<u64>);

impl Nesting {
    /// Counts once more, on condition that nobody else has since.
    pub(crate) fn count(self, change: &mut Change, caller: &Caller) {
        let next = self.0.unwrap_or(0) + 1;
        let condition = self.0.map_or(Condition::Absent, Condition::Version);
        let item = Item::from([(item::VERSION.to_owned(), item::number(next))]);
        change.set(Key::nesting(caller.directory().id), item, &[], condition);
    }
}

impl Store {
    /// 400 when a group would become a member of itself, be it through others (G6). Nothing is read unless groups are to
    /// become members.
    ///
    /// Where the members lead is read strongly, downwards from the groups that are added. What is answered stands for the
    /// edges that were there before the reading began: the change is conditional on there being no other since, so two changes
    /// that close a circle together cannot both be made, however far they are apart.
    pub(crate) async fn refuse_cycles(
        &self,
        caller: &Caller,
        group: &Stored,
        delta: &MembershipDelta,
    ) -> Result<Option<Nesting>, Error> {
        check_added_groups(delta)?;
        let mut next: BTreeSet<ResourceId> = delta.added_groups().collect();
        if next.is_empty() {
            return Ok(None);
        }
        let directory = caller.directory().id;
        let nesting = self.item(Key::nesting(directory)).await?;
        let nesting = nesting.map(|item| item::integer(&item, item::VERSION));
        let nesting = Nesting(nesting.transpose()?);
        // Each group below with the one that is added above it.
        let mut seen: BTreeMap<ResourceId, ResourceId> = next.iter().map(|id| (*id, *id)).collect();
        while !next.is_empty() {
            if let Some(above) = seen.get(&group.id) {
                let what = format_args!(
                    "the group \"{above}\" cannot be a member: this group is a member of it, or the same"
                );
                return Err(scim::Error::invalid_value("members.value", what).into());
            }
            let ids: Vec<ResourceId> = std::mem::take(&mut next).into_iter().collect();
            let heads = self.read_all(directory, &GROUP, &ids).await?;
            for id in &ids {
                let above = seen.get(id).copied().unwrap_or(*id);
                let Some(head) = heads.iter().find(|head| head.id == *id) else {
                    // A member that was added before may have been deleted since.
                    match above == *id {
                        true => return Err(unknown_members(&[*id])),
                        false => continue,
                    }
                };
                if head.group.subgroups == Some(0) && head.group.staged.is_none() {
                    continue;
                }
                let members = self.group_with_members(caller, *id).await?;
                let members = members.map(|(_, members)| members).unwrap_or_default();
                let groups = members.iter().filter(|(_, member)| member.group);
                for (id, _) in groups {
                    if let Entry::Vacant(new) = seen.entry(*id) {
                        new.insert(above);
                        next.insert(*id);
                    }
                }
            }
        }
        Ok(Some(nesting))
    }
}
