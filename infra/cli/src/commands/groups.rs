//! `rollcall groups`: the groups of a directory, or of a tenant and a product.

use clap::Args;

use super::Failure;
use super::admin::{Access, Target};
use super::output::Output;

/// The columns of a list of one directory.
const COLUMNS: [(&str, &str); 3] = [
    ("ID", "/id"),
    ("NAME", "/display_name"),
    ("EXTERNAL ID", "/external_id"),
];

/// The columns of a list over several directories.
const OVER_DIRECTORIES: [(&str, &str); 4] = [
    ("DIRECTORY", "/directory_id"),
    ("ID", "/id"),
    ("NAME", "/display_name"),
    ("EXTERNAL ID", "/external_id"),
];

#[derive(Args)]
pub(crate) struct Groups {
    #[command(flatten)]
    target: Target,
    /// Only the groups of a user
    #[arg(long = "of", value_name = "USER", conflicts_with_all = ["tenant", "product", "display_name", "external_id"])]
    user: Option<String>,
    /// Only groups with this name
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// Only groups with this id at the identity provider
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    #[command(flatten)]
    access: Access,
}

impl Groups {
    pub(super) async fn run(self, output: &mut Output) -> Result<(), Failure> {
        let filter = [
            ("display_name", self.display_name.as_deref()),
            ("external_id", self.external_id.as_deref()),
        ];
        let (below, columns): (&[&str], &[_]) = match &self.user {
            Some(user) => (&["users", user, "groups"], &COLUMNS),
            None if self.target.is_several() => (&["groups"], &OVER_DIRECTORIES),
            None => (&["groups"], &COLUMNS),
        };
        self.access
            .list(&self.target, below, &filter, columns, output)
            .await
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use axum::{Json, Router};
    use clap::Parser;
    use serde_json::{Value, json};

    use super::super::fake::{Written, served};
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        groups: Groups,
    }

    #[tokio::test]
    async fn groups_of_a_directory_and_of_a_user() {
        let list = |name: &'static str| {
            let item: Value = json!({"id": name, "display_name": "R&D", "external_id": null});
            get(async move || Json(json!({"data": [item], "next_cursor": null})))
        };
        let directories = json!({"data": [{"id": "d1"}, {"id": "d2"}], "next_cursor": null});
        let url = served(
            Router::new()
                .route("/v1/directories", get(async || Json(directories)))
                .route("/v1/directories/d1/groups", list("g1"))
                .route("/v1/directories/d1/users/u1/groups", list("g2"))
                .route("/v1/groups", list("g3")),
        )
        .await;
        let run = async |line: &[&str]| {
            let written = Written::default();
            let line = [&["groups"], line, &["--url", &url, "--key", "k"]].concat();
            let groups = Line::try_parse_from(line).unwrap().groups;
            let done = groups.run(&mut Output::to(written.clone())).await;
            done.map(|()| written.lines())
        };
        let lines = run(&["d1"]).await.unwrap();
        assert_eq!(lines, ["ID  NAME  EXTERNAL ID", "g1  R&D"]);
        let lines = run(&["d1", "--of", "u1"]).await.unwrap();
        assert_eq!(lines[1], "g2  R&D");
        let lines = run(&["--product", "crm"]).await.unwrap();
        assert_eq!(lines[0], "DIRECTORY  ID  NAME  EXTERNAL ID");
        // With two directories, one must be named.
        assert!(matches!(run(&[]).await, Err(Failure::Usage(_))));
    }
}
