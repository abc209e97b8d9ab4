//! How a customer connects its identity provider: the steps in the console of each provider.

use directory::Provider;

/// Returns what the customer's administrator does, step by step, in the words of the provider's console.
pub fn setup(provider: &Provider) -> &'static [&'static str] {
    match provider {
        Provider::Okta => &[
            "Applications, Browse App Catalog: add \"SCIM 2.0 Test App (OAuth Bearer Token)\".",
            "Provisioning, Integration, Configure API Integration: enable it; SCIM 2.0 Base Url is base_url, OAuth Bearer Token is the token.",
            "Test API Credentials, then Save.",
            "Provisioning, To App, Edit: enable Create Users, Update User Attributes and Deactivate Users.",
            "Assignments: assign people. Push Groups: push groups of people who are assigned.",
        ],
        Provider::Azure => &[
            "Enterprise applications, New application, Create your own application: Integrate any other application.",
            "Provisioning: Automatic. Tenant URL is base_url as it stands, with ?aadOptscim062020; Secret Token is the token.",
            "Test Connection, then Save.",
            "Mappings: map objectId to externalId, in place of mailNickname.",
            "Users and groups: assign them. Provisioning status: On.",
        ],
        Provider::OneLogin => &[
            "Applications, Add App: \"SCIM Provisioner with SAML (SCIM v2 Enterprise)\".",
            "Configuration: SCIM Base URL is base_url, SCIM Bearer Token is the token; Enable API connection.",
            "Provisioning: enable it. Users are suspended, or deleted, as you choose there.",
            "Access, Users: assign people.",
        ],
        Provider::JumpCloud => &[
            "SSO Applications: open or add the application, then Identity Management.",
            "API Type is SCIM API, SCIM Version is SCIM 2.0; Base URL is base_url, Token Key is the token.",
            "Test Connection with a test user's address, then Activate.",
            "User Groups: connect the groups whose members are to be provisioned.",
        ],
        Provider::PingOne => &[
            "Integrations, Provisioning, +, New connection: Identity Store, SCIM Outbound.",
            "Configure authentication: SCIM base URL is base_url, Users resource /Users, Groups resource /Groups, SCIM version 2.0; Authentication method is OAuth 2 Bearer Token, OAuth Access Token the token.",
            "Test Connection. Enable the connection.",
            "Provisioning, +, New rule, with that connection as the target: choose who is provisioned by User Filter, and which groups. Enable the rule.",
        ],
        Provider::Generic | Provider::Other(_) => &[
            "SCIM 2.0 base URL is base_url.",
            "Authentication is an OAuth bearer token, the token, in the Authorization header.",
        ],
    }
}
