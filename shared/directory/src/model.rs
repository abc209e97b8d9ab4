//! What a directory is made of. Nothing here knows of DynamoDB.

pub(crate) mod caller;
pub(crate) mod cursor;
pub(crate) mod directory;
pub(crate) mod error;
pub(crate) mod event_type;
pub(crate) mod id;
pub(crate) mod kept_as_text;
pub(crate) mod member;
pub(crate) mod resource_kind;
pub(crate) mod settings;
pub(crate) mod stored;
pub(crate) mod time;
pub(crate) mod webhook;
