//! What the lists of users and of groups have in common, in one directory and over several.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use directory::{
    Caller, DirectoryId, DirectoryPosition, Listed, Part, ResourceId, Status, Store, Stored, Wanted,
};
use gateway::{Administrator, Gateway, Problem};
use scim::{Object, ResourceType};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Json;
use crate::directories::ScopeFilter;
use crate::page::{List, Query, Unreadable};

/// Number of directories that are read for one page over several directories.
const DIRECTORIES_PER_PAGE: usize = 20;
/// Size from which no more directories are read for such a page, in bytes.
const MAX_PAGE_BYTES: usize = 1024 * 1024;

/// Users or groups.
#[derive(Clone, Copy)]
pub enum Collection {
    /// Users.
    Users,
    /// Groups.
    Groups,
}

/// A user or a group, of which lists over several directories name the directory.
pub trait Item: DeserializeOwned + Serialize {
    /// Names the directory.
    fn set_directory(&mut self, id: DirectoryId);
}

impl Collection {
    fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Groups => "groups",
        }
    }

    async fn part(
        self,
        store: &Store,
        caller: &Caller,
        wanted: &Wanted<'_>,
        part: Part,
    ) -> Result<Listed<Stored>, directory::Error> {
        match self {
            Self::Users => store.users_part(caller, wanted, part).await,
            Self::Groups => store.groups_part(caller, wanted, part).await,
        }
    }

    fn ty(self, caller: &Caller) -> &Arc<ResourceType> {
        match self {
            Self::Users => &caller.types().user,
            Self::Groups => &caller.types().group,
        }
    }

    /// Returns a stored user or group as this API shows it.
    pub fn show<T: DeserializeOwned>(self, caller: &Caller, stored: &Stored) -> Result<T, Problem> {
        typed(stored.data(caller, self.ty(caller)))
    }

    /// Returns a page of the users or groups of a directory.
    pub async fn list<T: Item, F>(
        self,
        gateway: &Gateway,
        admin: &Administrator,
        id: &str,
        query: &Query<F>,
        wanted: &Wanted<'_>,
    ) -> Result<Json<List<T>>, Problem> {
        let caller = caller(gateway, admin, id).await?;
        let page = query.page(format!("{} {}", self.name(), caller.directory().id))?;
        let found = self
            .part(gateway.store(), &caller, wanted, page.part()?)
            .await?;
        let mut items = vec![];
        for stored in &found.items {
            items.push((stored.id, self.show(&caller, stored)?));
        }
        let unreadable = found.unreadable.into_iter();
        page.answer(
            items,
            unreadable.map(|item| Unreadable::new(item, None)),
            found.next,
        )
    }

    /// Returns a page over the directories that the query and the scope of the admin key allow, one after the other.
    pub async fn list_over_directories<T: Item, F>(
        self,
        gateway: &Gateway,
        admin: &Administrator,
        query: &Query<F, ScopeFilter>,
        wanted: &Wanted<'_>,
    ) -> Result<Json<List<T>>, Problem> {
        let scope = query.also.scope().and(admin.scope());
        let page = query.page(format!("{} over {scope:?}", self.name()))?;
        let mut at: Position = page.place()?.unwrap_or_default();
        let Some(scope) = scope else {
            return page.answer::<Position, _>([], [], None);
        };
        let store = gateway.store();
        let found = store
            .directories(&scope, at.after.as_ref(), DIRECTORIES_PER_PAGE)
            .await?;
        let (mut data, mut unreadable, mut bytes) = (vec![], vec![], 0);
        for (place, directory) in found.directories {
            if data.len() + unreadable.len() >= page.limit || bytes > MAX_PAGE_BYTES {
                return page.answer(data, unreadable, Some(at));
            }
            let directory = match directory {
                Ok(directory) if directory.status != Status::Deleting => Some(directory),
                Ok(_) => None,
                Err(item) => {
                    unreadable.push(Unreadable::new(item, None));
                    None
                }
            };
            if let Some(directory) = directory {
                let id = directory.id;
                let within = at.within.filter(|(directory, _)| *directory == id);
                let part = Part {
                    after: within.map(|(_, resource)| resource),
                    limit: page.limit - data.len() - unreadable.len(),
                };
                let caller = admin.caller(directory)?;
                let found = match self.part(store, &caller, wanted, part).await {
                    Ok(found) => found,
                    // It is unknown which of its users or groups the filter finds. The other directories are shown.
                    Err(directory::Error::Unreadable(item)) => Listed {
                        items: vec![],
                        unreadable: vec![item],
                        next: None,
                    },
                    Err(error) => return Err(error.into()),
                };
                let unread = found.unreadable.into_iter();
                unreadable.extend(unread.map(|item| Unreadable::new(item, Some(id))));
                for stored in &found.items {
                    let object = stored.data(&caller, self.ty(&caller));
                    bytes += serde_json::to_string(&object).map_or(0, |text| text.len());
                    let mut item: T = typed(object)?;
                    item.set_directory(id);
                    let after = Position {
                        after: at.after.clone(),
                        within: Some((id, stored.id)),
                    };
                    data.push((after, item));
                }
                if let Some(last) = found.next {
                    at.within = Some((id, last));
                    return page.answer(data, unreadable, Some(at));
                }
            }
            at = Position {
                after: Some(place),
                within: None,
            };
        }
        page.answer(data, unreadable, found.next.map(|_| at))
    }
}

/// Reads what the store says of a user or a group, which has the form that this API describes.
///
/// # Errors
///
/// 500 if it has not, which is a mistake in this code.
pub fn typed<T: DeserializeOwned>(data: Object) -> Result<T, Problem> {
    serde_json::from_value(Value::Object(data))
        .map_err(|error| directory::Error::Broken(error.into()).into())
}

/// Returns the caller that reads a directory, unless the directory is being deleted.
pub async fn caller(gateway: &Gateway, admin: &Administrator, id: &str) -> Result<Caller, Problem> {
    admin.caller(admin.standing(gateway, id).await?)
}

/// A place in a list over several directories: after all of one directory, and perhaps in the middle of the next one.
#[derive(Clone, Default)]
struct Position {
    after: Option<DirectoryPosition>,
    within: Option<(DirectoryId, ResourceId)>,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(after) = &self.after {
            write!(f, "{after}")?;
        }
        if let Some((directory, resource)) = &self.within {
            write!(f, "|{directory}|{resource}")?;
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = directory::InvalidId;

    fn from_str(text: &str) -> Result<Self, directory::InvalidId> {
        let mut parts = text.split('|');
        let after = parts.next().filter(|place| !place.is_empty());
        let within = match (parts.next(), parts.next()) {
            (Some(directory), Some(resource)) => Some((directory.parse()?, resource.parse()?)),
            _ => None,
        };
        Ok(Self {
            after: after.map(str::parse).transpose()?,
            within,
        })
    }
}
