//! What goes over the wire, for the description of the API. Answers are made of
//! what the store says; the tests hold every answer against these.

use scim::Object;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A directory: one customer's connection.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Its id.
    #[schema(format = "uuid")]
    pub id: String,
    /// Your own name for the customer.
    pub tenant: String,
    /// Your own name for the application.
    pub product: String,
    /// What people call the directory.
    pub name: String,
    /// The identity provider: one of those that a directory can be created with, or one that only a newer version of
    /// Rollcall knows.
    pub provider: String,
    /// Whether it takes changes: `active`; `inactive`, when the identity provider is answered 403 and reading here works;
    /// or `deleting`, in the background. A status that only a newer version of Rollcall knows is treated as `inactive`.
    pub status: String,
    /// When it was created.
    #[schema(format = DateTime)]
    pub created: String,
    /// What was chosen for it.
    pub settings: Settings,
    /// Where its events are sent to, besides the bus, if anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub webhook: Option<Webhook>,
    /// The SCIM base URL, for the identity provider.
    #[schema(format = "uri")]
    pub base_url: String,
    /// What of the directory this version of Rollcall cannot read, such as a schema that a newer one wrote. It is kept, and not applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub unreadable: Option<Vec<UnreadablePart>>,
    /// What the customer's administrator does, step by step: in the answers about one directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup: Option<Vec<String>>,
    /// The SCIM bearer token, for the identity provider: when it is created, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// Where the events of a directory are sent to, besides the bus.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The address. Keys that may read only are shown its scheme, host and port.
    #[schema(format = "uri")]
    pub url: String,
    /// Since when.
    #[schema(format = DateTime)]
    pub created: String,
    /// What deliveries are signed with (Standard Webhooks): when the directory is created, and at its `webhook`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub secret: Option<String>,
}

/// Where the events of a directory are to be sent to, besides the bus.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// An https address on the internet, without a user name, a password or a fragment.
    #[schema(format = "uri", max_length = 2048)]
    pub url: String,
}

/// A part of a directory that this version of Rollcall cannot read.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnreadablePart {
    /// Where it is in the directory as it is kept (RFC 6901).
    pub pointer: String,
    /// Why, and what follows.
    pub detail: String,
}

/// What a list cannot show, because this version of Rollcall cannot read it.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Unreadable {
    /// What it is, such as `directory`, `user`, `group` or `event`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its id.
    #[schema(format = "uuid")]
    pub id: String,
    /// The directory that it is in, in lists over several.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uuid", nullable = false)]
    pub directory_id: Option<String>,
    /// Why, and what to do about it.
    pub reason: String,
}

/// The identity provider.
#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// Okta.
    OktaScimV2,
    /// Microsoft Entra ID.
    AzureScimV2,
    /// OneLogin.
    #[serde(rename = "onelogin-scim-v2")]
    OneLoginScimV2,
    /// JumpCloud.
    #[serde(rename = "jumpcloud-scim-v2")]
    JumpCloudScimV2,
    /// PingOne.
    PingScimV2,
    /// Any other SCIM 2.0 client.
    GenericScimV2,
}

impl From<Provider> for directory::Provider {
    fn from(provider: Provider) -> Self {
        match provider {
            Provider::OktaScimV2 => Self::Okta,
            Provider::AzureScimV2 => Self::Azure,
            Provider::OneLoginScimV2 => Self::OneLogin,
            Provider::JumpCloudScimV2 => Self::JumpCloud,
            Provider::PingScimV2 => Self::PingOne,
            Provider::GenericScimV2 => Self::Generic,
        }
    }
}

/// What was chosen for a directory.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whether a second group of the same name, in any case, is refused. Chosen when the directory is created.
    pub unique_group_names: bool,
    /// Whether requests are read as the SCIM interoperability profile has it.
    pub strict: bool,
    /// What it says of itself: `full` or `plain`, or what only a newer version of Rollcall knows, which works as `full`.
    pub discovery: String,
    /// The schema extensions of its own.
    pub schemas: Vec<CustomSchema>,
}

/// A schema extension of a directory's own.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CustomSchema {
    /// What it extends.
    pub resource_type: Extends,
    /// Whether each resource of the type must have it.
    #[serde(default)]
    pub required: bool,
    /// The schema in the form in which the SCIM endpoint /Schemas shows it (RFC 7643 §7).
    #[schema(value_type = Object)]
    pub schema: Object,
}

/// What a schema can extend.
#[derive(Deserialize, Serialize, ToSchema)]
pub enum Extends {
    /// Users.
    User,
    /// Groups.
    Group,
}

impl From<CustomSchema> for directory::CustomSchema {
    fn from(schema: CustomSchema) -> Self {
        Self {
            resource_type: match schema.resource_type {
                Extends::User => directory::Extends::User,
                Extends::Group => directory::Extends::Group,
            },
            required: schema.required,
            schema: schema.schema,
            unknown: Object::new(),
        }
    }
}

/// What a directory says of itself.
#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Discovery {
    /// Everything that it can do.
    Full,
    /// ServiceProviderConfig as RFC 7643 §5 has it and no more, for clients that refuse what they do not know. Entity
    /// tags are not supported then: answers have neither `ETag` nor `meta.version`, and `If-Match` is not judged.
    Plain,
}

impl From<Discovery> for directory::Discovery {
    fn from(discovery: Discovery) -> Self {
        match discovery {
            Discovery::Full => Self::Full,
            Discovery::Plain => Self::Plain,
        }
    }
}

/// What may be chosen for a directory; what is left out stays, or is `false` or `full` when it is created.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsChange {
    /// Whether a second group of the same name, in any case, is refused. Chosen when the directory is created.
    #[schema(nullable = false)]
    pub unique_group_names: Option<bool>,
    /// Whether requests are read as the SCIM interoperability profile has it.
    #[schema(nullable = false)]
    pub strict: Option<bool>,
    /// What it says of itself.
    #[schema(nullable = false)]
    pub discovery: Option<Discovery>,
    /// The schema extensions of its own, all of them: 20 and 64 KB at most.
    #[schema(nullable = false)]
    pub schemas: Option<Vec<CustomSchema>>,
}

/// A directory that is to be.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDirectory {
    /// Your own name for the customer.
    #[schema(min_length = 1, max_length = 200)]
    pub tenant: String,
    /// Your own name for the application.
    #[schema(min_length = 1, max_length = 200)]
    pub product: String,
    /// What people call the directory.
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// The identity provider.
    pub provider: Provider,
    /// What is chosen for it.
    #[schema(nullable = false)]
    pub settings: Option<SettingsChange>,
    /// Where its events are to be sent to; `null` is nowhere but to the bus.
    pub webhook: Option<NewWebhook>,
}

/// What is to change in a directory; what is left out stays.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DirectoryChange {
    /// What people call the directory.
    #[schema(min_length = 1, max_length = 200, nullable = false)]
    pub name: Option<String>,
    /// Whether it takes changes.
    #[schema(nullable = false)]
    pub status: Option<Standing>,
    /// What is chosen for it.
    #[schema(nullable = false)]
    pub settings: Option<SettingsChange>,
    /// Where its events are to be sent to; `null` is nowhere but to the bus.
    pub webhook: Option<NewWebhook>,
}

/// Whether a directory is to take changes.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It is.
    Active,
    /// It is not.
    Inactive,
}

/// A directory that is being deleted.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Deleting {
    /// Its id.
    #[schema(format = "uuid")]
    pub id: String,
    /// `deleting`.
    pub status: String,
}

/// How a token is to be rotated.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// For how many seconds the token before stays good; a day if nothing is said, a year at most.
    #[schema(minimum = 0, maximum = 31_536_000, nullable = false)]
    pub grace_seconds: Option<i64>,
}

/// A new token.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotated {
    /// The new SCIM bearer token: here, and never again.
    pub token: String,
    /// Until when the token before is good, if there was one.
    #[schema(format = DateTime)]
    pub previous_expires: Option<String>,
}

/// What may be told of a token.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// `current`, or `previous` while it is good after a rotation.
    pub state: TokenState,
    /// When it was issued.
    #[schema(format = DateTime)]
    pub created: String,
    /// In which hour it was last used, if ever.
    #[schema(format = DateTime)]
    pub last_used: Option<String>,
    /// When it ends, if it does.
    #[schema(format = DateTime)]
    pub expires: Option<String>,
}

/// Which of two tokens.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenState {
    /// The one that was issued last.
    Current,
    /// The one before it.
    Previous,
}

/// The tokens of a directory that are good.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// The current one first. None when all are revoked.
    pub data: Vec<Token>,
}

/// A user, as in the `data` of events. What is not known is missing.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The directory, in lists over several.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uuid", nullable = false)]
    pub directory_id: Option<String>,
    /// `User`, among the members of a group.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub kind: Option<String>,
    /// The user's id.
    #[schema(format = "uuid")]
    pub id: String,
    /// The name that the user signs in with, unique within the directory.
    pub user_name: String,
    /// The identity provider's own id of the user.
    #[schema(nullable = false)]
    pub external_id: Option<String>,
    /// The primary e-mail address that has a value, else the first of type work, else the first that has a value.
    #[schema(nullable = false)]
    pub email: Option<String>,
    /// The given name.
    #[schema(nullable = false)]
    pub first_name: Option<String>,
    /// The family name.
    #[schema(nullable = false)]
    pub last_name: Option<String>,
    /// The name to show to others.
    #[schema(nullable = false)]
    pub display_name: Option<String>,
    /// Whether the user may use the application.
    pub active: bool,
    /// The SCIM resource.
    #[schema(value_type = Object)]
    pub raw: serde_json::Value,
}

/// A group, as in the `data` of events, without its members.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The directory, in lists over several.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uuid", nullable = false)]
    pub directory_id: Option<String>,
    /// `Group`, among the members of a group.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub kind: Option<String>,
    /// The group's id.
    #[schema(format = "uuid")]
    pub id: String,
    /// The identity provider's own id of the group.
    #[schema(nullable = false)]
    pub external_id: Option<String>,
    /// The group's name.
    pub display_name: String,
    /// Among the groups of a user: `direct`, or `indirect` through a group within the group.
    #[schema(nullable = false)]
    pub membership: Option<String>,
    /// The SCIM resource, without members.
    #[schema(value_type = Object)]
    pub raw: serde_json::Value,
}

/// A member of a group.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Member {
    /// A user, whose `type` is `User`.
    User(User),
    /// A group, whose `type` is `Group`.
    Group(Group),
}

/// An event, as it is on the bus.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Its id: `detail.id`.
    #[schema(format = "uuid")]
    pub id: String,
    /// What happened, such as `user.created`: `detail-type` on the bus.
    #[serde(rename = "type")]
    pub kind: String,
    /// When: `detail.time`.
    #[schema(format = DateTime)]
    pub time: String,
    /// Everything else, as `infra/events` describes it.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
}

/// A page of directories.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DirectoryList {
    /// Those of the page.
    pub data: Vec<Directory>,
    /// The `cursor` of the next page, or `null` at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
    /// What the list cannot show.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub unreadable: Option<Vec<Unreadable>>,
}

/// A page of users.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserList {
    /// Those of the page, which may be fewer than `limit`.
    pub data: Vec<User>,
    /// The `cursor` of the next page, or `null` at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
    /// What the list cannot show.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub unreadable: Option<Vec<Unreadable>>,
}

/// A page of groups.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupList {
    /// Those of the page, which may be fewer than `limit`.
    pub data: Vec<Group>,
    /// The `cursor` of the next page, or `null` at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
    /// What the list cannot show.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub unreadable: Option<Vec<Unreadable>>,
}

/// A page of members.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MemberList {
    /// Those of the page, which may be fewer than `limit`.
    pub data: Vec<Member>,
    /// The `cursor` of the next page, or `null` at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// A page of events.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventList {
    /// The oldest first; an event is shown 35 seconds after it happened.
    pub data: Vec<Event>,
    /// The `cursor` to go on from, now or later, be there more or not.
    pub next_cursor: String,
    /// What the list cannot show.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub unreadable: Option<Vec<Unreadable>>,
}

/// An event that cannot be published.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ParkedEvent {
    /// The id that the event has on the bus. If it is all the events of a request, the id of the first of them.
    #[schema(format = "uuid")]
    pub id: String,
    /// The member, if it is the event of one membership.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uuid", nullable = false)]
    pub member: Option<String>,
    /// Why it cannot be published.
    pub reason: String,
    /// How many attempts there were to publish it.
    #[schema(minimum = 1)]
    pub attempts: u64,
    /// When it is forgotten, which is not before its event is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    pub expires: Option<String>,
}

/// A page of parked events.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ParkedList {
    /// The oldest first.
    pub data: Vec<ParkedEvent>,
    /// The `cursor` of the next page, or `null` at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// What is published once more.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Redriven {
    /// How many parked events that are.
    pub events: usize,
    /// The `cursor` to go on with, or `null` when there are no more.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// Problem details (RFC 9457).
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// `about:blank`: its kind is that of the status.
    #[serde(rename = "type")]
    pub kind: String,
    /// The words of the status.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What is wrong.
    pub detail: String,
    /// What is wrong with values of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub errors: Option<Vec<Wrong>>,
}

/// What is wrong with one value.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Wrong {
    /// Where it is in the body (RFC 6901).
    #[schema(nullable = false)]
    pub pointer: Option<String>,
    /// Which parameter of the query it is.
    #[schema(nullable = false)]
    pub parameter: Option<String>,
    /// What is wrong with it.
    pub detail: String,
}
