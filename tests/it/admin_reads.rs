//! Reads of users, groups and memberships through the admin API.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::harness::{World, user};

impl World {
    /// All of a list, by pages of `limit`, which is never more than that.
    async fn all(&self, path: &str, limit: usize) -> Vec<Value> {
        let mut all = vec![];
        let mut cursor = String::new();
        loop {
            let mark = if path.contains('?') { '&' } else { '?' };
            let page = self
                .admin_get(&format!("{path}{mark}limit={limit}{cursor}"))
                .await
                .expect(200)
                .json();
            let data = page["data"].as_array().unwrap();
            assert!(data.len() <= limit);
            all.extend(data.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }
}

fn names(list: &[Value]) -> BTreeSet<String> {
    let names: BTreeSet<String> = list
        .iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), list.len(), "one twice");
    names
}

#[tokio::test]
async fn users_are_represented_as_in_events() {
    let world = World::new().await;
    let id = world
        .post("/Users", &user("Ann@example.com"))
        .await
        .expect(201)
        .id();
    let event = world.events().await.remove(0);
    let shown = world
        .admin_get(&world.admin_path(&format!("/users/{id}")))
        .await
        .expect(200)
        .json();
    assert_eq!(shown, event["detail"]["data"]);
    assert_eq!(
        shown["raw"]["meta"]["location"],
        format!("http://{}{}/Users/{id}", crate::harness::HOST, world.base())
    );

    let group = json!({"displayName": "Sales", "externalId": "00g1"});
    let group = world.post("/Groups", &group).await.expect(201).id();
    let event = world.events().await.remove(0);
    let shown = world
        .admin_get(&world.admin_path(&format!("/groups/{group}")))
        .await
        .expect(200)
        .json();
    assert_eq!(shown, event["detail"]["data"]);
}

#[tokio::test]
async fn lists_are_complete_at_any_page_size() {
    let world = World::new().await;
    let mut users = vec![];
    for n in 0..23 {
        let mut body = user(&format!("u{n}@example.com"));
        body["active"] = json!(n % 3 != 0);
        body["emails"] = json!([{"value": "all@example.com", "primary": true}]);
        users.push(world.post("/Users", &body).await.expect(201).id());
    }
    let path = world.admin_path("/users");
    for limit in [1, 4, 23, 200] {
        assert_eq!(names(&world.all(&path, limit).await).len(), 23);
        let inactive = world.all(&format!("{path}?active=false"), limit).await;
        assert_eq!(inactive.len(), 8);
        assert!(inactive.iter().all(|user| user["active"] == false));
        assert_eq!(
            world.all(&format!("{path}?active=true"), limit).await.len(),
            15
        );
        let by_mail = world
            .all(&format!("{path}?email=ALL%40example.com"), limit)
            .await;
        assert_eq!(names(&by_mail).len(), 23);
        let both = world
            .all(
                &format!("{path}?email=all%40example.com&active=false"),
                limit,
            )
            .await;
        assert_eq!(both.len(), 8);
    }
    for (query, count) in [
        ("user_name=U7%40EXAMPLE.COM", 1),
        (
            "user_name=u7%40example.com&external_id=00u-u7%40example.com",
            1,
        ),
        (
            "user_name=u7%40example.com&external_id=00u-u8%40example.com",
            0,
        ),
        ("external_id=00U-u7%40example.com", 0),
        (
            "user_name=%22%20or%20userName%20pr%20or%20userName%20eq%20%22",
            0,
        ),
        ("user_name=", 0),
    ] {
        assert_eq!(
            world.all(&format!("{path}?{query}"), 5).await.len(),
            count,
            "{query}"
        );
    }
    // SCIM has the same look-up.
    let nobody = world.get("/Users?filter=userName%20eq%20%22%22").await;
    assert_eq!(nobody.expect(200).json()["totalResults"], 0);
    for query in ["active=yes", "emial=x", "username=x"] {
        world
            .admin_get(&format!("{path}?{query}"))
            .await
            .expect(400);
    }

    // Creations and deletions during the listing do not disturb it.
    let first = world
        .admin_get(&format!("{path}?limit=10"))
        .await
        .expect(200)
        .json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let seen: Vec<Value> = first["data"].as_array().unwrap().clone();
    let last = seen.last().unwrap()["id"].as_str().unwrap().to_owned();
    world.delete(&format!("/Users/{last}")).await.expect(204);
    let rest = world
        .admin_get(&format!("{path}?limit=200&cursor={cursor}"))
        .await
        .expect(200)
        .json();
    assert_eq!(rest["data"].as_array().unwrap().len(), 13);

    // A cursor is of one list of one directory.
    let other = world.directory_of("acme", "crm").await;
    for path in [
        other.admin_path("/users"),
        world.admin_path("/groups"),
        "/v1/users".to_owned(),
        "/v1/directories".to_owned(),
    ] {
        world
            .admin_get(&format!("{path}?cursor={cursor}"))
            .await
            .expect(400);
    }
}

#[tokio::test]
async fn members_of_a_group_and_groups_of_a_user_agree() {
    let world = World::new().await;
    let mut members = vec![];
    for n in 0..12 {
        members.push(
            world
                .post("/Users", &user(&format!("u{n}@example.com")))
                .await
                .expect(201)
                .id(),
        );
    }
    let elements: Vec<Value> = members.iter().map(|id| json!({"value": id})).collect();
    let sales = world
        .post(
            "/Groups",
            &json!({"displayName": "Sales", "members": elements}),
        )
        .await
        .expect(201)
        .id();
    let mixed = json!({"displayName": "All", "members": [{"value": sales}, {"value": members[0]}]});
    let all = world.post("/Groups", &mixed).await.expect(201).id();
    for limit in [1, 5, 100] {
        let list = world
            .all(
                &world.admin_path(&format!("/groups/{sales}/members")),
                limit,
            )
            .await;
        assert_eq!(names(&list), members.iter().cloned().collect());
        assert!(
            list.iter()
                .all(|member| member["type"] == "User" && member["email"].is_string())
        );
        let list = world
            .all(&world.admin_path(&format!("/groups/{all}/members")), limit)
            .await;
        assert_eq!(
            names(&list),
            BTreeSet::from([sales.clone(), members[0].clone()])
        );
        assert_eq!(
            list.iter()
                .filter(|member| member["type"] == "Group")
                .count(),
            1
        );

        let of = world
            .all(
                &world.admin_path(&format!("/users/{}/groups", members[1])),
                limit,
            )
            .await;
        let how: Vec<(&str, &str)> = of
            .iter()
            .map(|group| {
                (
                    group["display_name"].as_str().unwrap(),
                    group["membership"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            BTreeSet::from_iter(how),
            BTreeSet::from([("Sales", "direct"), ("All", "indirect")])
        );
        assert_eq!(
            world
                .all(&world.admin_path("/groups?display_name=sales"), limit)
                .await
                .len(),
            1
        );
        assert_eq!(
            world.all(&world.admin_path("/groups"), limit).await.len(),
            2
        );
    }
    // An id of one kind is none of the other.
    world
        .admin_get(&world.admin_path(&format!("/users/{sales}")))
        .await
        .expect(404);
    world
        .admin_get(&world.admin_path(&format!("/users/{sales}/groups")))
        .await
        .expect(404);
    world
        .admin_get(&world.admin_path(&format!("/groups/{}/members", members[0])))
        .await
        .expect(404);

    // A member that a staged write removes is not listed, although its row may still exist.
    let gone: Vec<Value> = members[2..].iter().map(|id| json!({"value": id})).collect();
    world
        .patch(
            &format!("/Groups/{sales}"),
            json!([{"op": "remove", "path": "members", "value": gone}]),
        )
        .await
        .expect(200);
    assert_eq!(
        world
            .all(&world.admin_path(&format!("/groups/{sales}/members")), 3)
            .await
            .len(),
        2
    );
}

#[tokio::test]
async fn lists_cover_all_directories_of_a_tenant_and_product() {
    let world = World::new().await;
    let mut expected = BTreeSet::new();
    for directory in 0..25 {
        let product = if directory % 5 == 4 { "erp" } else { "crm" };
        let own = world.directory_of("acme", product).await;
        for n in 0..directory % 4 {
            let id = own
                .post("/Users", &user(&format!("u{n}@example.com")))
                .await
                .expect(201)
                .id();
            if product == "crm" {
                expected.insert(id);
            }
        }
        if directory == 3 {
            world
                .admin(
                    Method::PATCH,
                    &own.admin_path(""),
                    json!({"status": "inactive"}),
                )
                .await
                .expect(200);
        }
    }
    let other = world.directory_of("umbrella", "crm").await;
    other
        .post("/Users", &user("u1@example.com"))
        .await
        .expect(201);
    for limit in [1, 3, 7, 200] {
        let list = world.all("/v1/users?tenant=acme&product=crm", limit).await;
        assert_eq!(names(&list), expected, "by {limit}");
        let one = world
            .all(
                "/v1/users?tenant=acme&product=crm&user_name=u2%40example.com",
                limit,
            )
            .await;
        assert!(!one.is_empty() && one.iter().all(|user| user["user_name"] == "u2@example.com"));
    }
    assert_eq!(world.all("/v1/groups?tenant=acme", 10).await.len(), 0);
}
