//! Lists and look-ups: which way a query goes, and what it may cost.
//!
//! | filter | way | requests |
//! |---|---|---|
//! | none | the counts, then one range of resources by id | 2; by cursor 1 |
//! | `id eq` | the resource | 1 |
//! | a unique value `eq`, such as `userName` | its pointer, then the resource | 1 (none) or 2 |
//! | another value with pointers `eq`, such as `emails.value` | the pointers, then the resources | 1 (none) or 2 |
//! | several of these with `or` | all of them side by side | one each, and the resources |
//! | one of these `and` anything | that row, then the rest in memory | as the row |
//! | any other | all resources by 16 ranges of ids at once, in memory | at least 16, within a budget |
//! | any other, by cursor | resources by id until the page is full, or the budget is spent | as many as it takes |
//!
//! A list in another order than that of the ids reads everything that matches,
//! within the same budget, and then the page. Everything is read strongly from
//! the table itself, so a client that looks up what it just wrote finds it.

pub(crate) mod admin;
pub(crate) mod effort;
pub(crate) mod groups;
mod page;
mod plan;
mod scan;
pub(crate) mod search;
pub(crate) mod users;

use jiff::Timestamp;
use scim::{
    BudgetExhausted, ListResponse, Object, Page, Paging, ResolvedFilter, ResolvedSearch,
    ResolvedSort, ScimType, SearchRequest,
};

use crate::model::caller::Caller;
use crate::model::cursor::PagePosition;
use crate::model::error::Error;
use crate::model::id::ResourceId;
use crate::model::resource_kind::ResourceKind;
use crate::model::stored::Stored;

/// What a list is asked for.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    /// Which resources; all of them if there is none.
    pub filter: Option<&'a ResolvedFilter<'a>>,
    /// In which order; by id if there is none.
    pub sort: Option<&'a ResolvedSort<'a>>,
    /// Which of those to answer.
    pub paging: &'a Paging,
    /// The list that a cursor belongs to ([`scim::SearchRequest::binding`]).
    pub binding: &'a str,
    /// When it is asked.
    pub now: Timestamp,
}

impl<'a> Query<'a> {
    /// Returns the query of a search whose cursors belong to `binding`.
    #[must_use]
    pub fn new(
        search: &'a SearchRequest,
        resolved: &'a ResolvedSearch<'a>,
        binding: &'a str,
        now: Timestamp,
    ) -> Self {
        Self {
            filter: resolved.filter.as_ref(),
            sort: resolved.sort.as_ref(),
            paging: &search.paging,
            binding,
            now,
        }
    }
}

/// What a list found.
pub struct Found<T> {
    /// How many match in all; not known to pages by cursor of a filter that reads on.
    pub(crate) total: Option<u64>,
    /// The page of them that was asked for, in the order in which they take their places in it: from its beginning on,
    /// or from its end back in the page before a cursor. It may be shortened, which shortens the page.
    pub resources: Vec<T>,
    /// The cursor of the next page.
    pub(crate) next: Option<String>,
    /// The cursor of the page before.
    pub(crate) previous: Option<String>,
    /// Where a list by cursor goes on after each of the resources that the page had before it was shortened.
    pub(crate) ends: Vec<(&'static ResourceKind, PagePosition)>,
    /// Whether it is the page before a cursor.
    pub(crate) backward: bool,
}

impl<T> Found<T> {
    /// Nothing.
    pub(crate) fn none() -> Self {
        Self {
            total: Some(0),
            resources: vec![],
            next: None,
            previous: None,
            ends: vec![],
            backward: false,
        }
    }

    /// The answer to a query, in which `show` represents a resource. The page ends with the first resource for which
    /// there is `None`, and its cursors lead to what was left out.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] when no cursor can be made.
    pub fn list(
        mut self,
        caller: &Caller,
        query: &Query<'_>,
        show: impl FnMut(&T) -> Option<Object>,
    ) -> Result<ListResponse, Error> {
        let mut resources: Vec<Object> = self.resources.iter().map_while(show).collect();
        let last = resources.len().checked_sub(1);
        let cut = resources.len() < self.ends.len();
        if let Some((kind, place)) = last.and_then(|last| self.ends.get(last)).filter(|_| cut) {
            let cursor = Some(query.cursor(caller, kind, *place)?);
            match self.backward {
                true => self.previous = cursor,
                false => self.next = cursor,
            }
        }
        if self.backward {
            resources.reverse();
        }
        Ok(ListResponse {
            total_results: self.total,
            start_index: match query.paging {
                Paging::Index(page) => Some(page.start_index),
                Paging::Cursor { .. } => None,
            },
            next_cursor: self.next,
            previous_cursor: self.previous,
            resources,
        })
    }

    /// The same page with each resource made into something else, without those that are nothing.
    pub(crate) fn replace<U>(self, resources: Vec<Option<U>>) -> Found<U> {
        let mut there = resources.iter().map(Option::is_some);
        let mut ends = self.ends;
        ends.retain(|_| there.next() != Some(false));
        Found {
            total: self.total,
            resources: resources.into_iter().flatten().collect(),
            next: self.next,
            previous: self.previous,
            ends,
            backward: self.backward,
        }
    }
}

/// What matches a query, as far as it is known.
pub(crate) enum Candidates<'q> {
    /// Everything.
    All,
    /// These, in the order of their ids.
    Read(Vec<Stored>),
    /// Those of these ids, in their order. They have not been read, and all of them match.
    Ids(Vec<ResourceId>),
    /// Those that pass a test, for which all have to be read.
    Tested(Box<Test<'q>>),
}

/// Whether a resource passes, within what is left of the work of the request.
pub(crate) type Test<'q> = dyn Fn(&Stored) -> Result<bool, BudgetExhausted> + Send + Sync + 'q;

/// The part of a list that is asked for.
#[derive(Default)]
pub(crate) struct Part {
    pub(crate) total: Option<u64>,
    /// In the order that [`Found::resources`] has.
    pub(crate) resources: Vec<Stored>,
    /// Where the next page begins, for pages by cursor.
    pub(crate) next: Option<PagePosition>,
    pub(crate) previous: Option<PagePosition>,
    /// Of a list that is sorted.
    pub(crate) span: Option<Span>,
    /// Whether it is what comes before a cursor.
    pub(crate) backward: bool,
}

impl Part {
    /// What is found.
    pub(crate) fn found(
        self,
        caller: &Caller,
        kind: &'static ResourceKind,
        query: &Query<'_>,
    ) -> Result<Found<Stored>, Error> {
        let cursor = |place: Option<PagePosition>| {
            let cursor = place.map(|place| query.cursor(caller, kind, place));
            cursor.transpose()
        };
        let ends = self.resources.iter().zip(1..).map(|(resource, count)| {
            let by_id = match self.backward {
                true => PagePosition::Before(resource.id),
                false => PagePosition::After(resource.id),
            };
            (kind, self.span.map_or(by_id, |span| span.after(count)))
        });
        Ok(Found {
            total: self.total,
            next: cursor(self.next)?,
            previous: cursor(self.previous)?,
            ends: match query.paging {
                Paging::Index(_) => vec![],
                Paging::Cursor { .. } => ends.collect(),
            },
            resources: self.resources,
            backward: self.backward,
        })
    }
}

/// Which part of a list that is sorted a page is.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    /// How many come before the page.
    from: u64,
    /// How many come before what follows it.
    to: u64,
    /// Whether it is the page before a cursor.
    pub(crate) backward: bool,
    by_cursor: bool,
}

impl Span {
    pub(crate) fn new(paging: &Paging, place: Option<PagePosition>, total: u64) -> Self {
        let (from, to, backward) = match (paging, place) {
            (Paging::Cursor { count, .. }, Some(PagePosition::Until(to))) => {
                let to = to.min(total);
                (to.saturating_sub(*count), to, true)
            }
            (Paging::Cursor { count, .. }, Some(PagePosition::Number(from))) => {
                (from, from.saturating_add(*count), false)
            }
            (Paging::Cursor { count, .. }, _) => (0, *count, false),
            (Paging::Index(page), _) => {
                let from = page.start_index.saturating_sub(1);
                (from, from.saturating_add(page.count), false)
            }
        };
        Self {
            from: from.min(total),
            to: to.min(total),
            backward,
            by_cursor: matches!(paging, Paging::Cursor { count: 1.., .. }),
        }
    }

    /// What is on the page, in the order that [`Found::resources`] has.
    pub(crate) fn of<T>(self, all: Vec<T>) -> Vec<T> {
        let page = Page {
            start_index: self.from.saturating_add(1),
            count: self.to.saturating_sub(self.from),
        };
        let mut part = window(all, page);
        if self.backward {
            part.reverse();
        }
        part
    }

    /// Where the list goes on after so many of the page.
    pub(crate) fn after(self, count: u64) -> PagePosition {
        match self.backward {
            true => PagePosition::Until(self.to.saturating_sub(count)),
            false => PagePosition::Number(self.from.saturating_add(count)),
        }
    }

    pub(crate) fn next(self, total: u64) -> Option<PagePosition> {
        (self.by_cursor && self.to < total).then_some(PagePosition::Number(self.to))
    }

    pub(crate) fn previous(self) -> Option<PagePosition> {
        (self.by_cursor && self.from > 0).then_some(PagePosition::Until(self.from))
    }
}

impl Query<'_> {
    /// What the cursors of this list are bound to.
    fn list(&self, kind: &ResourceKind) -> String {
        format!("{} {}", (kind.base)().endpoint, self.binding)
    }

    pub(crate) fn cursor(
        &self,
        caller: &Caller,
        kind: &ResourceKind,
        place: PagePosition,
    ) -> Result<String, Error> {
        place.to_cursor(caller, &self.list(kind), self.now)
    }

    fn place(
        &self,
        caller: &Caller,
        kind: &ResourceKind,
        cursor: &str,
    ) -> Result<PagePosition, Error> {
        PagePosition::from_cursor(caller, &self.list(kind), cursor, self.now)
    }

    /// Whether a cursor is one of this list.
    ///
    /// # Errors
    ///
    /// 400 `expiredCursor` if it was one.
    pub(crate) fn has_cursor(
        &self,
        caller: &Caller,
        kind: &ResourceKind,
        cursor: &str,
    ) -> Result<bool, Error> {
        match self.place(caller, kind, cursor) {
            Ok(_) => Ok(true),
            Err(Error::Scim(error)) if error.scim_type() == Some(ScimType::InvalidCursor) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Where the page of this query begins, if that is at a cursor.
    pub(crate) fn begins(
        &self,
        caller: &Caller,
        kind: &ResourceKind,
    ) -> Result<Option<PagePosition>, Error> {
        match self.paging {
            Paging::Cursor {
                cursor: Some(cursor),
                ..
            } => self.place(caller, kind, cursor).map(Some),
            Paging::Cursor { cursor: None, .. } | Paging::Index(_) => Ok(None),
        }
    }
}

/// A page by number of what is all at hand.
pub(crate) fn window<T>(all: Vec<T>, page: Page) -> Vec<T> {
    let skip = usize::try_from(page.start_index.saturating_sub(1)).unwrap_or(usize::MAX);
    let count = usize::try_from(page.count).unwrap_or(usize::MAX);
    all.into_iter().skip(skip).take(count).collect()
}
