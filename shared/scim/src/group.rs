//! The Group resource type (RFC 7643 §4.2).
//!
//! This file contains data only. `displayName` is required according to §4.2, although the listing
//! in §8.7.1 says otherwise. Members have a `display`, which is missing in that listing and which
//! every client sends (G2).

use std::sync::LazyLock;

use crate::schema::{Attribute, Client, Mutability, Profile, ResourceType, Schema};

/// The URI of the Group schema (RFC 7643 §4.2).
pub const GROUP_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

static GROUP: LazyLock<ResourceType> = LazyLock::new(|| ResourceType {
    name: "Group".to_owned(),
    endpoint: "/Groups".to_owned(),
    description: "A set of users.".to_owned(),
    schema: Schema {
        id: GROUP_SCHEMA.to_owned(),
        name: "Group".to_owned(),
        description: "A set of users.".to_owned(),
        attributes: group_attributes(),
    },
    extensions: Vec::new(),
    profile: Profile::Tolerant,
    client: Client::Other,
});

impl ResourceType {
    /// Returns the resource type Group (RFC 7643 §4.2).
    pub fn group() -> &'static ResourceType {
        &GROUP
    }
}

fn group_attributes() -> Vec<Attribute> {
    let text = Attribute::text;
    vec![
        text("displayName", "The name of the group.")
            .required()
            .as_name(),
        Attribute::complex(
            "members",
            "The members of the group.",
            vec![
                text("value", "The id of the member.")
                    .case_exact()
                    .mutability(Mutability::Immutable),
                Attribute::reference("$ref", "The URI of the member.", &["User", "Group"])
                    .mutability(Mutability::Immutable),
                text("type", "The resource type of the member.")
                    .canonical(&["User", "Group"])
                    .mutability(Mutability::Immutable),
                text("display", "The name of the member."),
            ],
        )
        .multi_valued(),
    ]
}
