//! The User resource type: RFC 7643 §4.1 and the enterprise extension §4.3.
//!
//! This file contains data only. The characteristics are those of §8.7.1, with three additions that
//! clients need: `active` defaults to true (U2), `addresses` have a `primary` as every multi-valued
//! attribute (§2.4), and binary values and references are case-sensitive, as §2.3 defines them.

use std::sync::LazyLock;

use serde_json::Value;

use crate::schema::{
    Attribute, Client, DataType, Extension, Mutability, Profile, ResourceType, Returned, Schema,
    Uniqueness,
};

/// The URI of the User schema (RFC 7643 §4.1).
pub const USER_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:User";

/// The URI of the enterprise extension (RFC 7643 §4.3).
pub const ENTERPRISE_USER_SCHEMA: &str =
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

static USER: LazyLock<ResourceType> = LazyLock::new(|| ResourceType {
    name: "User".to_owned(),
    endpoint: "/Users".to_owned(),
    description: "A person with an account.".to_owned(),
    schema: Schema {
        id: USER_SCHEMA.to_owned(),
        name: "User".to_owned(),
        description: "A person with an account.".to_owned(),
        attributes: user_attributes(),
    },
    extensions: vec![Extension {
        schema: Schema {
            id: ENTERPRISE_USER_SCHEMA.to_owned(),
            name: "EnterpriseUser".to_owned(),
            description: "Enterprise User".to_owned(),
            attributes: enterprise_attributes(),
        },
        required: false,
    }],
    profile: Profile::Tolerant,
    client: Client::Other,
});

impl ResourceType {
    /// Returns the resource type User with the enterprise extension (RFC 7643 §4.1 and §4.3).
    pub fn user() -> &'static ResourceType {
        &USER
    }
}

fn user_attributes() -> Vec<Attribute> {
    let text = Attribute::text;
    vec![
        text(
            "userName",
            "The name the user signs in with; unique within the directory.",
        )
        .required()
        .unique(Uniqueness::Server)
        .as_name(),
        Attribute::complex(
            "name",
            "The components of the name of the user.",
            vec![
                text("formatted", "The full name, formatted for display."),
                text("familyName", "The family name or last name."),
                text("givenName", "The given name or first name."),
                text("middleName", "The middle names."),
                text("honorificPrefix", "The prefix of the name, such as 'Dr.'."),
                text("honorificSuffix", "The suffix of the name, such as 'III'."),
            ],
        ),
        text("displayName", "The name for display."),
        text("nickName", "The casual name of the user."),
        Attribute::reference("profileUrl", "A page about the user.", &["external"]),
        text("title", "The job title."),
        text(
            "userType",
            "The relationship of the user to the organisation, such as 'Contractor'.",
        ),
        text(
            "preferredLanguage",
            "The preferred languages, in the form of Accept-Language.",
        ),
        text(
            "locale",
            "The locale for numbers, dates and currency, such as 'en-US'.",
        ),
        text("timezone", "The time zone, such as 'Europe/Berlin'."),
        Attribute::new("active", DataType::Boolean, "Whether the user is active.")
            .default_value(Value::Bool(true)),
        text("password", "The password. It is validated and not stored.")
            .mutability(Mutability::WriteOnly)
            .returned(Returned::Never),
        plural(
            "emails",
            "E-mail addresses.",
            text("value", "The address."),
            &["work", "home", "other"],
        ),
        plural(
            "phoneNumbers",
            "Phone numbers.",
            text("value", "The number, as it was sent."),
            &["work", "home", "mobile", "fax", "pager", "other"],
        ),
        plural(
            "ims",
            "Instant messaging addresses.",
            text("value", "The address."),
            &["aim", "gtalk", "icq", "xmpp", "msn", "skype", "qq", "yahoo"],
        ),
        plural(
            "photos",
            "Pictures of the user.",
            Attribute::reference("value", "The URL of the picture.", &["external"]),
            &["photo", "thumbnail"],
        ),
        Attribute::complex(
            "addresses",
            "Postal addresses.",
            vec![
                text("formatted", "The full address, formatted for display."),
                text("streetAddress", "The street, house number or P.O. box."),
                text("locality", "City."),
                text("region", "State or region."),
                text("postalCode", "Postal code."),
                text("country", "Country, as an ISO 3166-1 alpha-2 code."),
                text("type", "The purpose of the address.").canonical(&["work", "home", "other"]),
                primary(),
            ],
        )
        .multi_valued(),
        Attribute::complex(
            "groups",
            "The groups of the user. They are changed through the groups.",
            vec![
                text("value", "The id of the group.")
                    .case_exact()
                    .read_only(),
                Attribute::reference("$ref", "The URI of the group.", &["Group"]).read_only(),
                text("display", "The name of the group.").read_only(),
                text(
                    "type",
                    "Whether the membership is direct or through another group.",
                )
                .canonical(&["direct", "indirect"])
                .read_only(),
            ],
        )
        .multi_valued()
        .read_only(),
        plural(
            "entitlements",
            "The entitlements of the user.",
            text("value", "The entitlement."),
            &[],
        ),
        plural(
            "roles",
            "The roles of the user.",
            text("value", "The role."),
            &[],
        ),
        plural(
            "x509Certificates",
            "Certificates issued to the user.",
            Attribute::new("value", DataType::Binary, "The certificate, DER in base64."),
            &[],
        ),
    ]
}

fn enterprise_attributes() -> Vec<Attribute> {
    let text = Attribute::text;
    vec![
        text(
            "employeeNumber",
            "The number that the organisation assigned to the user.",
        ),
        text("costCenter", "The cost centre."),
        text("organization", "The organisation."),
        text("division", "The division."),
        text("department", "The department."),
        Attribute::complex(
            "manager",
            "The user's manager.",
            vec![
                text("value", "The id of the manager's user.").case_exact(),
                Attribute::reference("$ref", "The URI of the manager's user.", &["User"]),
                text("displayName", "The manager's name.").read_only(),
            ],
        ),
    ]
}

/// Creates a multi-valued attribute with the sub-attributes of RFC 7643 §2.4 (C23).
fn plural(name: &str, description: &str, value: Attribute, types: &[&str]) -> Attribute {
    Attribute::complex(
        name,
        description,
        vec![
            value,
            Attribute::text("display", "A label for display."),
            Attribute::text("type", "The purpose of the value.").canonical(types),
            primary(),
        ],
    )
    .multi_valued()
}

fn primary() -> Attribute {
    Attribute::new(
        "primary",
        DataType::Boolean,
        "Whether this is the preferred value. At most one value can be.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7643 §4.1 (U1); RFC 7643 §4.3 (U5).
    #[test]
    fn the_user_schema_has_every_attribute_of_rfc_7643() {
        let user = ResourceType::user();
        for name in [
            "userName",
            "name",
            "displayName",
            "nickName",
            "profileUrl",
            "title",
            "userType",
            "preferredLanguage",
            "locale",
            "timezone",
            "active",
            "password",
            "emails",
            "phoneNumbers",
            "ims",
            "photos",
            "addresses",
            "groups",
            "entitlements",
            "roles",
            "x509Certificates",
        ] {
            assert!(user.schema.attribute(name).is_some(), "{name}");
        }
        assert_eq!(user.schema.attributes.len(), 21);
        let enterprise = user.extension(ENTERPRISE_USER_SCHEMA).unwrap();
        for name in [
            "employeeNumber",
            "costCenter",
            "organization",
            "division",
            "department",
            "manager",
        ] {
            assert!(enterprise.attribute(name).is_some(), "{name}");
        }
    }

    #[test]
    fn complex_attributes_are_not_nested() {
        let user = ResourceType::user();
        let enterprise = user.extension(ENTERPRISE_USER_SCHEMA).unwrap();
        for attribute in user.attributes().chain(&enterprise.attributes) {
            assert_eq!(attribute.is_complex(), !attribute.sub_attributes.is_empty());
            assert!(attribute.sub_attributes.iter().all(|sub| !sub.is_complex()));
        }
    }
}
