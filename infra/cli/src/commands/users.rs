//! `rollcall users`: the users of a directory, or of a tenant and a product.

use clap::Args;

use super::Failure;
use super::admin::{Access, Target};
use super::output::Output;

/// The columns of a list of one directory.
const COLUMNS: [(&str, &str); 6] = [
    ("ID", "/id"),
    ("USER NAME", "/user_name"),
    ("FIRST NAME", "/first_name"),
    ("LAST NAME", "/last_name"),
    ("EMAIL", "/email"),
    ("ACTIVE", "/active"),
];

/// The columns of a list over several directories.
const OVER_DIRECTORIES: [(&str, &str); 5] = [
    ("DIRECTORY", "/directory_id"),
    ("ID", "/id"),
    ("USER NAME", "/user_name"),
    ("EMAIL", "/email"),
    ("ACTIVE", "/active"),
];

/// The columns of the members of a group, which are users or groups.
const MEMBERS: [(&str, &str); 5] = [
    ("TYPE", "/type"),
    ("ID", "/id"),
    ("NAME", "/display_name"),
    ("USER NAME", "/user_name"),
    ("ACTIVE", "/active"),
];

#[derive(Args)]
pub(crate) struct Users {
    #[command(flatten)]
    target: Target,
    /// Only the members of a group
    #[arg(long = "in", value_name = "GROUP", conflicts_with_all = ["tenant", "product", "user_name", "email", "external_id", "active"])]
    group: Option<String>,
    /// Only the user with this user name
    #[arg(long, value_name = "NAME")]
    user_name: Option<String>,
    /// Only users with this e-mail address
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Only users with this id at the identity provider
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    /// Only users that are active, or only users that are not
    #[arg(long, value_name = "BOOLEAN", value_parser = ["true", "false"])]
    active: Option<String>,
    #[command(flatten)]
    access: Access,
}

impl Users {
    pub(super) async fn run(self, output: &mut Output) -> Result<(), Failure> {
        let filter = [
            ("user_name", self.user_name.as_deref()),
            ("email", self.email.as_deref()),
            ("external_id", self.external_id.as_deref()),
            ("active", self.active.as_deref()),
        ];
        let (below, columns): (&[&str], &[_]) = match &self.group {
            Some(group) => (&["groups", group, "members"], &MEMBERS),
            None if self.target.is_several() => (&["users"], &OVER_DIRECTORIES),
            None => (&["users"], &COLUMNS),
        };
        self.access
            .list(&self.target, below, &filter, columns, output)
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

    /// A list with one item that has the name of the list and the query.
    fn list(name: &'static str) -> axum::routing::MethodRouter {
        get(async move |RawQuery(query): RawQuery| -> Json<Value> {
            let query = query.unwrap_or_default();
            Json(
                json!({"data": [{"id": name, "user_name": query, "active": true, "type": "User", "directory_id": "d0"}], "next_cursor": null}),
            )
        })
    }

    #[tokio::test]
    async fn each_option_reads_its_list() {
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
        // There is only one directory, so it needs no id.
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
