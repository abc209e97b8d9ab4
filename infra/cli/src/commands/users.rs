//! `rollcall users`: the people of a directory, or of a tenant and product.

use clap::Args;

use super::Failure;
use super::admin::{Access, path};
use super::output::Output;

const COLUMNS: [(&str, &str); 6] = [
    ("ID", "/id"),
    ("USER NAME", "/user_name"),
    ("FIRST NAME", "/first_name"),
    ("LAST NAME", "/last_name"),
    ("EMAIL", "/email"),
    ("ACTIVE", "/active"),
];

/// Of a list over several directories.
const EVERYWHERE: [(&str, &str); 5] = [
    ("DIRECTORY", "/directory_id"),
    ("ID", "/id"),
    ("USER NAME", "/user_name"),
    ("EMAIL", "/email"),
    ("ACTIVE", "/active"),
];

/// Of the members of a group, who may be groups.
const MEMBERS: [(&str, &str); 5] = [
    ("TYPE", "/type"),
    ("ID", "/id"),
    ("NAME", "/display_name"),
    ("USER NAME", "/user_name"),
    ("ACTIVE", "/active"),
];

#[derive(Args)]
pub(crate) struct Users {
    /// The directory's id; may be left out if there is one directory only
    #[arg(value_name = "DIRECTORY", conflicts_with_all = ["tenant", "product"])]
    directory: Option<String>,
    /// Over all directories of a customer
    #[arg(long)]
    tenant: Option<String>,
    /// Over all directories of an application
    #[arg(long)]
    product: Option<String>,
    /// Only the members of a group
    #[arg(long = "in", value_name = "GROUP", conflicts_with_all = ["tenant", "product", "user_name", "email", "external_id", "active"])]
    group: Option<String>,
    /// Only who has this user name
    #[arg(long, value_name = "NAME")]
    user_name: Option<String>,
    /// Only who has this e-mail address
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Only who has this id at the identity provider
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    /// Only who is active, or is not
    #[arg(long, value_name = "BOOLEAN", value_parser = ["true", "false"])]
    active: Option<String>,
    #[command(flatten)]
    access: Access,
}

impl Users {
    pub(super) async fn run(self, output: &mut Output) -> Result<(), Failure> {
        let admin = self.access.admin()?;
        let everywhere = self.tenant.is_some() || self.product.is_some();
        let (path, columns) = match (everywhere, &self.group) {
            (true, _) => ("/users".to_owned(), EVERYWHERE.as_slice()),
            (false, group) => {
                let directory = admin.directory(self.directory.as_deref()).await?;
                match group {
                    Some(group) => (
                        path(&["directories", &directory, "groups", group, "members"]),
                        MEMBERS.as_slice(),
                    ),
                    None => (
                        path(&["directories", &directory, "users"]),
                        COLUMNS.as_slice(),
                    ),
                }
            }
        };
        let query = [
            ("tenant", self.tenant.as_deref()),
            ("product", self.product.as_deref()),
            ("user_name", self.user_name.as_deref()),
            ("email", self.email.as_deref()),
            ("external_id", self.external_id.as_deref()),
            ("active", self.active.as_deref()),
        ];
        admin
            .list(&path, &query, columns, self.access.json, output)
            .await
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::RawQuery;
    use axum::routing::get;
    use axum::{Json, Router};
    use clap::Parser;
    use serde_json::{Value, json};

    use super::super::fake::{Written, served};
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        users: Users,
    }

    /// A list whose one item says which list was asked for what.
    fn list(name: &'static str) -> axum::routing::MethodRouter {
        get(async move |RawQuery(query): RawQuery| -> Json<Value> {
            let query = query.unwrap_or_default().replace("&limit=200", "");
            let query = query.replace("limit=200", "");
            Json(
                json!({"data": [{"id": name, "user_name": query, "active": true, "type": "User", "directory_id": "d0"}], "next_cursor": null}),
            )
        })
    }

    #[tokio::test]
    async fn each_question_goes_to_its_list() {
        let directories = json!({"data": [{"id": "d1"}], "next_cursor": null});
        let url = served(
            Router::new()
                .route("/v1/directories", get(async || Json(directories)))
                .route("/v1/directories/d1/users", list("d1"))
                .route("/v1/directories/d1/groups/g1/members", list("g1"))
                .route("/v1/users", list("all")),
        )
        .await;
        let run = async |line: &[&str]| {
            let written = Written::default();
            let line = [&["users"], line, &["--url", &url, "--key", "k"]].concat();
            let users = Line::try_parse_from(line).unwrap().users;
            users.run(&mut Output::to(written.clone())).await.unwrap();
            let last = written.lines().pop().unwrap();
            last.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        // There is one directory, so it is meant.
        assert_eq!(run(&["--email", "a@b"]).await, "d1 email=a%40b true");
        assert_eq!(
            run(&["d1", "--active", "false"]).await,
            "d1 active=false true"
        );
        assert_eq!(run(&["d1", "--in", "g1"]).await, "User g1 true");
        let line = ["--tenant", "acme", "--product", "crm"];
        assert_eq!(run(&line).await, "d0 all tenant=acme&product=crm true");
    }
}
