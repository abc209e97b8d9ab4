//! Responses near the limit of Lambda, 6 MB. The body is a JSON string within JSON, so each quote and backslash counts
//! twice. A page ends earlier, a resource that does not fit is refused with a way to read it, and a change that was
//! made is never answered with an error.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, World, user};

const BULK: &str = "urn:ietf:params:scim:api:messages:2.0:BulkRequest";

impl World {
    /// Creates users of these user names, and answers their ids.
    async fn people(&self, count: usize, also: &Value) -> Vec<String> {
        let mut ids = vec![];
        let of_one_request = match also.to_string().len() {
            0..1_000 => 200,
            size => 900_000 / size,
        };
        let all: Vec<usize> = (0..count).collect();
        for some in all.chunks(of_one_request) {
            let operations: Vec<Value> = some
                .iter()
                .map(|n| {
                    let mut data = json!({"userName": format!("u{n:04}")});
                    for (name, value) in also.as_object().unwrap() {
                        data[name] = value.clone();
                    }
                    json!({"method": "POST", "path": "/Users", "bulkId": n.to_string(), "data": data})
                })
                .collect();
            let body = json!({"schemas": [BULK], "Operations": operations});
            let answer = self.post("/Bulk", &body).await.expect(200).json();
            for outcome in answer["Operations"].as_array().unwrap() {
                assert_eq!(outcome["status"], "201", "{outcome}");
                let location = outcome["location"].as_str().unwrap();
                ids.push(location.rsplit('/').next().unwrap().to_owned());
            }
        }
        ids
    }

    async fn group(&self, name: &str, members: &[String]) -> String {
        let members: Vec<Value> = members.iter().map(|id| json!({"value": id})).collect();
        let body = json!({"displayName": name, "members": members});
        let minimal = [("prefer", "return=minimal")];
        let answer = self.with(Method::POST, "/Groups", &body, &minimal).await;
        let location = answer.expect(201).header("location").unwrap().to_owned();
        location.rsplit('/').next().unwrap().to_owned()
    }

    async fn with(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        headers: &[(&'static str, &str)],
    ) -> Answer {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let mut request = self.request(method, path, body);
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        self.send(request).await
    }

    /// The ids of a list, page by page as the client goes on after `itemsPerPage`, and how many pages there were.
    async fn by_index(&self, path: &str, total: usize) -> (Vec<String>, usize) {
        let (mut ids, mut pages) = (vec![], 0);
        while ids.len() < total {
            let page = format!("{path}startIndex={}&count=200", ids.len() + 1);
            let page = self.get(&page).await.expect(200).json();
            assert_eq!(page["totalResults"], total);
            assert_eq!(page["startIndex"], ids.len() + 1);
            ids.extend(ids_of(&page));
            pages += 1;
        }
        (ids, pages)
    }

    /// The same by `nextCursor`, and then back to the first page by `previousCursor`, if the pages have any.
    async fn by_cursor(&self, path: &str) -> (Vec<String>, usize) {
        let (mut ids, mut pages) = (vec![], 0);
        let mut cursor = String::new();
        let mut last = Value::Null;
        loop {
            let page = format!("{path}cursor={cursor}&count=200");
            let page = self.get(&page).await.expect(200).json();
            ids.extend(ids_of(&page));
            pages += 1;
            let Some(next) = page["nextCursor"].as_str() else {
                last = if pages > 1 { page } else { last };
                break;
            };
            cursor = next.to_owned();
        }
        if last["previousCursor"].is_string() {
            let mut back = ids_of(&last);
            while let Some(previous) = last["previousCursor"].as_str() {
                let page = format!("{path}cursor={previous}&count=200");
                last = self.get(&page).await.expect(200).json();
                back.splice(0..0, ids_of(&last));
            }
            assert_eq!(back, ids, "backwards by {path}");
        }
        (ids, pages)
    }

    /// All of a list of the admin API, and how many pages it took.
    async fn pages_of(&self, path: &str) -> (Vec<Value>, usize) {
        let (mut all, mut pages, mut cursor) = (vec![], 0, String::new());
        let mark = if path.contains('?') { '&' } else { '?' };
        loop {
            let page = self
                .admin_get(&format!("{path}{mark}limit=200{cursor}"))
                .await
                .expect(200)
                .json();
            let data = page["data"].as_array().unwrap();
            all.extend(data.iter().cloned());
            pages += 1;
            match page["next_cursor"].as_str() {
                // The log always says where to go on.
                Some(_) if data.is_empty() => return (all, pages),
                Some(next) => cursor = format!("&cursor={next}"),
                None => return (all, pages),
            }
        }
    }
}

#[track_caller]
fn ids_of(page: &Value) -> Vec<String> {
    let resources = page["Resources"].as_array().unwrap();
    assert_eq!(page["itemsPerPage"], resources.len());
    assert!(!resources.is_empty(), "a page of nothing leads nowhere");
    let ids = resources.iter().map(|one| one["id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

#[track_caller]
fn are(ids: &[String], expected: &[String]) {
    let once: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(once.len(), ids.len(), "one is there twice");
    assert_eq!(once, expected.iter().collect());
}

/// The detail of 400 `tooMany`.
#[track_caller]
fn too_many(answer: Answer) -> String {
    let error = answer.expect(400).json();
    assert_eq!(error["scimType"], "tooMany");
    error["detail"].as_str().unwrap().to_owned()
}

/// 20 groups of 3,000 letters, of which each user shows all: a page of 100 users would be 6.5 MB.
#[tokio::test]
async fn a_page_of_users_with_many_groups_is_shorter() {
    let world = World::new().await;
    let people = world.people(100, &json!({})).await;
    let mut groups = vec![];
    for n in 0..20 {
        let name = format!("{n:02}{}", "n".repeat(3_000));
        groups.push(world.group(&name, &people).await);
    }
    let page = world.get("/Users?count=200").await.expect(200).json();
    assert_eq!(page["totalResults"], 100);
    let shown = page["Resources"].as_array().unwrap();
    assert!((50..100).contains(&shown.len()), "{}", shown.len());
    for user in shown {
        assert_eq!(user["groups"].as_array().unwrap().len(), 20);
    }
    let filter = format!("groups.value%20eq%20%22{}%22", groups[0]);
    for path in [
        "/Users?".to_owned(),
        "/Users?sortBy=userName&sortOrder=descending&".to_owned(),
        "/Users?filter=userName%20sw%20%22u%22&".to_owned(),
        format!("/Users?filter={filter}&"),
        "/?filter=meta.resourceType%20eq%20%22User%22&sortBy=id&".to_owned(),
    ] {
        let (ids, pages) = world.by_cursor(&path).await;
        are(&ids, &people);
        assert_eq!(pages, 2, "{path}");
    }
    let (ids, pages) = world.by_index("/Users?sortBy=userName&", 100).await;
    are(&ids, &people);
    assert_eq!(pages, 2);
    // Users and groups in one list.
    let all: Vec<String> = people.iter().chain(&groups).cloned().collect();
    are(&world.by_index("/?", 120).await.0, &all);
    are(&world.by_cursor("/?").await.0, &all);
    let search =
        json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "count": 200});
    for path in ["/Users/.search", "/.search"] {
        let page = world.post(path, &search).await.expect(200).json();
        assert_eq!(ids_of(&page).len(), shown.len());
    }
}

/// 20 groups whose names have 60,000 letters: three users are as much as one answer holds.
#[tokio::test]
async fn a_page_of_users_in_groups_of_long_names_is_shorter() {
    let world = World::new().await;
    let people = world.people(12, &json!({})).await;
    for n in 0..20 {
        let name = format!("{n:02}{}", "n".repeat(60_000));
        world.group(&name, &people).await;
    }
    // Of more than two pages, those before a cursor are shortened as well.
    for path in ["/Users?", "/Users?sortBy=userName&"] {
        let (ids, pages) = world.by_cursor(path).await;
        are(&ids, &people);
        assert_eq!(pages, 4, "{path}");
    }
    let (ids, pages) = world.by_index("/Users?", 12).await;
    are(&ids, &people);
    assert_eq!(pages, 4);
}

/// A user whose groups alone are more than an answer holds is refused with the way to read it, and can be changed.
#[tokio::test]
async fn a_user_whose_groups_do_not_fit_can_be_changed_but_not_read() {
    let world = World::new().await;
    let people = world.people(2, &json!({})).await;
    let ann = &people[0];
    let mut groups = vec![];
    for n in 0..110 {
        let name = format!("{n:03}{}", "n".repeat(60_000));
        groups.push(world.group(&name, &people[..1]).await);
    }
    let path = format!("/Users/{ann}");
    let filtered = "/Users?filter=userName%20eq%20%22u0000%22";
    for path in [path.as_str(), filtered] {
        let detail = too_many(world.get(path).await);
        assert!(detail.contains(ann), "{detail}");
        assert!(detail.contains("excludedAttributes=groups"), "{detail}");
        let way = format!("/Groups?filter=members.value eq \"{ann}\"&excludedAttributes=members");
        assert!(detail.contains(&way), "{detail}");
    }
    // What the error says works.
    let without = world
        .get(&format!("{path}?excludedAttributes=groups"))
        .await;
    assert_eq!(without.expect(200).json()["userName"], "u0000");
    let way =
        format!("/Groups?filter=members.value%20eq%20%22{ann}%22&excludedAttributes=members&");
    let (ids, pages) = world.by_index(&way, 110).await;
    are(&ids, &groups);
    assert!(pages > 1);
    let (shown, pages) = world
        .pages_of(&world.admin_path(&format!("/users/{ann}/groups")))
        .await;
    let ids: Vec<String> = shown
        .iter()
        .map(|of| of["id"].as_str().unwrap().to_owned())
        .collect();
    are(&ids, &groups);
    assert!(pages > 1);

    // A change is made, and says so.
    let title = json!([{"op": "replace", "path": "title", "value": "Engineer"}]);
    let answer = world.patch(&path, title).await.expect(204);
    assert_eq!(answer.header("etag"), Some("W/\"2\""));
    assert!(answer.header("location").unwrap().ends_with(&path));
    let body = json!({"userName": "u0000", "title": "Architect"});
    let prefer = [("prefer", "return=representation")];
    let answer = world
        .with(Method::PUT, &path, &body, &prefer)
        .await
        .expect(204);
    assert_eq!(answer.header("etag"), Some("W/\"3\""));
    assert_eq!(answer.header("preference-applied"), None);
    let operations = json!([{"method": "PUT", "path": path, "data": body},
        {"method": "PATCH", "path": path, "data": {"Operations": [{"op": "add", "path": "nickName", "value": "Ann"}]}}]);
    let bulk = json!({"schemas": [BULK], "Operations": operations});
    let bulk = world.post("/Bulk", &bulk).await.expect(200).json();
    assert_eq!(bulk["Operations"][0]["version"], "W/\"3\"");
    assert_eq!(bulk["Operations"][1]["version"], "W/\"4\"");
    assert_eq!(bulk["Operations"][1]["status"], "204");
    let shown = world
        .get(&format!("{path}?attributes=title,nickName"))
        .await
        .json();
    assert_eq!(
        (&shown["title"], &shown["nickName"]),
        (&json!("Architect"), &json!("Ann"))
    );
}

/// 1,500 members, each with a `display` of 1,000 backslashes, which are 4,000 bytes of the answer.
#[tokio::test]
async fn a_group_whose_members_do_not_fit_can_be_changed_but_not_read_at_once() {
    let world = World::new().await;
    let people = world.people(1_500, &json!({})).await;
    let display = "\\".repeat(1_024);
    let members: Vec<Value> = people
        .iter()
        .map(|id| json!({"value": id, "display": display}))
        .collect();
    let body = json!({"displayName": "Large", "members": members});
    let prefer = [("prefer", "return=representation")];
    let made = world
        .with(Method::POST, "/Groups", &body, &prefer)
        .await
        .expect(201);
    assert_eq!(made.header("etag"), Some("W/\"1\""));
    assert_eq!(
        made.header("preference-applied"),
        None,
        "it is not the whole"
    );
    assert!(made.header("location").unwrap().ends_with(&made.id()));
    let shown = made.json();
    assert_eq!(shown["displayName"], "Large");
    assert_eq!(shown.get("members"), None);
    let id = made.id();
    let path = format!("/Groups/{id}");

    for path in [path.as_str(), "/Groups"] {
        let detail = too_many(world.get(path).await);
        assert!(detail.contains(&id), "{detail}");
        assert!(detail.contains("excludedAttributes=members"), "{detail}");
        assert!(detail.contains("/Users?filter=groups.value eq"), "{detail}");
    }
    let without = world
        .get(&format!("{path}?excludedAttributes=members"))
        .await;
    assert_eq!(without.expect(200).json()["displayName"], "Large");
    let way = format!("/Users?filter=groups.value%20eq%20%22{id}%22&");
    are(&world.by_index(&way, 1_500).await.0, &people);
    let values = world.get(&format!("{path}?attributes=members.value")).await;
    assert_eq!(
        values.expect(200).json()["members"]
            .as_array()
            .unwrap()
            .len(),
        1_500
    );

    let mut renamed = body.clone();
    renamed["displayName"] = json!("Larger");
    let answer = world
        .with(Method::PUT, &path, &renamed, &prefer)
        .await
        .expect(204);
    assert_eq!(answer.header("etag"), Some("W/\"2\""));
    assert!(answer.header("location").unwrap().ends_with(&path));
    assert_eq!(answer.header("preference-applied"), None);
    let rename =
        json!({"Operations": [{"op": "replace", "path": "displayName", "value": "Largest"}]});
    let answer = world
        .with(Method::PATCH, &path, &rename, &prefer)
        .await
        .expect(204);
    assert_eq!(answer.header("etag"), Some("W/\"3\""));
    assert_eq!(answer.header("preference-applied"), None);
    let answer = world
        .with(
            Method::PATCH,
            &format!("{path}?attributes=members"),
            &rename,
            &[],
        )
        .await
        .expect(204);
    assert_eq!(answer.header("etag"), Some("W/\"3\""), "it changes nothing");

    // A list ends before it, says how many there are, and leads to it.
    let mut groups = vec![id.clone()];
    for n in 0..8 {
        groups.push(world.group(&format!("small {n}"), &people[..1]).await);
    }
    groups.sort_unstable();
    let before = groups.iter().position(|group| *group == id).unwrap();
    let all = world
        .by_index("/Groups?excludedAttributes=members&", 9)
        .await;
    are(&all.0, &groups);
    if before > 0 {
        let page = world.get("/Groups?cursor=").await.expect(200).json();
        assert_eq!(ids_of(&page), groups[..before]);
        let next = page["nextCursor"].as_str().unwrap();
        too_many(world.get(&format!("/Groups?cursor={next}")).await);
    }
    let (ids, _) = world.by_cursor("/Groups?excludedAttributes=members&").await;
    are(&ids, &groups);
}

/// Two groups that fit one by one are on two pages, in lists of groups and of everything.
#[tokio::test]
async fn large_groups_are_on_pages_of_their_own() {
    let world = World::new().await;
    let people = world.people(800, &json!({})).await;
    let display = "\\".repeat(1_024);
    let members: Vec<Value> = people
        .iter()
        .map(|id| json!({"value": id, "display": display}))
        .collect();
    let mut groups = vec![];
    for n in 0..2 {
        let body = json!({"displayName": format!("g{n}"), "members": members});
        groups.push(world.post("/Groups", &body).await.expect(201).id());
    }
    let names = "filter=displayName%20sw%20%22g%22&";
    for path in [
        "/Groups?".to_owned(),
        "/Groups?sortBy=displayName&".to_owned(),
        format!("/?{names}sortBy=displayName&"),
    ] {
        let (ids, pages) = world.by_cursor(&path).await;
        are(&ids, &groups);
        assert_eq!(pages, 2, "{path}");
    }
    let (ids, pages) = world.by_index("/Groups?", 2).await;
    are(&ids, &groups);
    assert_eq!(pages, 2);
    // Users first, then the groups, which begin on a page that has users.
    let all: Vec<String> = people.iter().chain(&groups).cloned().collect();
    are(
        &world.by_cursor("/?excludedAttributes=groups&").await.0,
        &all,
    );
}

/// Users of 64 KB, which is what is kept at most, of backslashes.
#[tokio::test]
async fn a_page_of_the_largest_users_is_shorter() {
    let world = World::new().await;
    let large =
        json!({"displayName": "\\".repeat(32_700), "emails": [{"value": "all@example.com"}]});
    let people = world.people(50, &large).await;
    for path in ["/Users?", "/Users?sortBy=userName&", "/?"] {
        let (ids, pages) = world.by_index(path, 50).await;
        are(&ids, &people);
        assert_eq!(pages, 2, "{path}");
        are(&world.by_cursor(path).await.0, &people);
    }
    // Each is there twice, flat and as it is in SCIM, and JSON within JSON doubles the backslashes again.
    for path in [
        world.admin_path("/users"),
        world.admin_path("/users?email=all%40example.com"),
        "/v1/users?email=all%40example.com".to_owned(),
    ] {
        let (shown, pages) = world.pages_of(&path).await;
        let ids: Vec<String> = shown
            .iter()
            .map(|of| of["id"].as_str().unwrap().to_owned())
            .collect();
        are(&ids, &people);
        assert!(pages > 2, "{path}");
    }
}

/// A push of 100 members whose users have 40 KB: one request, 100 events, 8 MB.
#[tokio::test]
async fn a_page_of_the_event_log_is_limited_by_bytes() {
    let world = World::new().await;
    let people = world
        .people(100, &json!({"displayName": "n".repeat(40_000)}))
        .await;
    world.wait(1);
    let group = world.group(&"g".repeat(20_000), &people).await;
    let bus = world.events().await;
    assert_eq!(bus.len(), 201);
    world.wait(36);
    let (log, pages) = world.pages_of(&world.admin_path("/events")).await;
    let ids = |events: Vec<&Value>| -> BTreeSet<String> {
        events
            .iter()
            .map(|id| id.as_str().unwrap().to_owned())
            .collect()
    };
    // That of the directory itself was before.
    let of_log = log
        .iter()
        .filter(|event| event["type"] != "directory.created");
    let of_log: Vec<&Value> = of_log.map(|event| &event["id"]).collect();
    assert_eq!(of_log.len(), 201);
    let of_bus = bus.iter().map(|event| &event["detail"]["id"]);
    assert_eq!(ids(of_log), ids(of_bus.collect()));
    assert!(pages > 5);
    let added = world.admin_path("/events?type=group.user_added");
    let first = world.admin_get(&added).await.expect(200).json();
    assert!((10..100).contains(&first["data"].as_array().unwrap().len()));
    assert_eq!(world.pages_of(&added).await.0.len(), 100);
    let (members, _) = world
        .pages_of(&world.admin_path(&format!("/groups/{group}/members")))
        .await;
    assert_eq!(members.len(), 100);
}

/// gzip is sent in Base64: text that cannot be compressed takes a third more.
#[tokio::test]
async fn a_page_that_gzip_cannot_compress_is_shorter() {
    let world = World::new().await;
    let people = world.people(6, &json!({})).await;
    let mut state = 1_u64;
    let mut letter = || {
        // Knuth's MMIX generator: it only has to look like chance to gzip.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from_u32(0xa0 + (state >> 40) as u32 % 0x760).unwrap()
    };
    for _ in 0..20 {
        let name: String = (0..30_000).map(|_| letter()).collect();
        world.group(&name, &people).await;
    }
    let gzip = [("accept-encoding", "gzip")];
    for path in ["/Users?count=3", "/Users", "/Users?cursor="] {
        let answer = world
            .with(Method::GET, path, &Value::Null, &gzip)
            .await
            .expect(200);
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
    }
    are(&world.by_index("/Users?", 6).await.0, &people);
}

/// An address of 8 KB, as no API of AWS has: everything that is named has it, and it is measured all the same.
#[tokio::test]
async fn a_bulk_request_with_a_too_large_response_changes_nothing() {
    let world = World::new().await;
    let host = format!("{}.example.com", "a".repeat(8_000));
    let long = [("host", host.as_str())];
    let operations = |count: usize| -> Value {
        let operations: Vec<Value> = (0..count)
            .map(|n| json!({"method": "POST", "path": "/Users", "bulkId": n.to_string(), "data": {"userName": format!("u{n}")}}))
            .collect();
        json!({"schemas": [BULK], "Operations": operations})
    };
    let refused = world
        .with(Method::POST, "/Bulk", &operations(900), &long)
        .await
        .expect(413);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("fewer"), "{detail}");
    assert_eq!(world.get("/Users?count=0").await.json()["totalResults"], 0);
    let made = world
        .with(Method::POST, "/Bulk", &operations(500), &long)
        .await
        .expect(200)
        .json();
    assert_eq!(made["Operations"].as_array().unwrap().len(), 500);
    // Each user shows the address once, and the list ends where the answer is full.
    let page = world
        .with(Method::GET, "/Users?count=200", &Value::Null, &long)
        .await
        .expect(200);
    assert_eq!(page.json()["totalResults"], 500);
    assert_eq!(ids_of(&page.json()).len(), 200);
}

/// Directories with schemas of their own, of 60 KB each.
#[tokio::test]
async fn a_page_of_directories_is_limited_by_bytes() {
    let world = World::new().await;
    let attributes: Vec<Value> = (0..190)
        .map(|n| {
            let description = "\\".repeat(80);
            json!({"name": format!("a{n}"), "type": "string", "description": description})
        })
        .collect();
    let schema = json!({"id": "urn:example:large", "name": "Large", "attributes": attributes});
    let settings =
        json!({"schemas": [{"resource_type": "User", "required": false, "schema": schema}]});
    let mut expected = BTreeSet::from([world.directory.clone()]);
    for n in 0..75 {
        let body = json!({"tenant": format!("t{n}"), "product": "crm", "name": "Large",
            "provider": "generic-scim-v2", "settings": settings});
        let made = world
            .admin(Method::POST, "/v1/directories", body)
            .await
            .expect(201);
        expected.insert(made.id());
    }
    let (shown, pages) = world.pages_of("/v1/directories").await;
    let ids: Vec<String> = shown
        .iter()
        .map(|of| of["id"].as_str().unwrap().to_owned())
        .collect();
    are(&ids, &expected.into_iter().collect::<Vec<_>>());
    assert!(pages > 1);
}

/// What is asked for is as large as it may be and no larger: an answer that just fits is whole.
#[tokio::test]
async fn a_response_that_fits_is_complete() {
    let world = World::new().await;
    let mut ann = user("ann@example.com");
    ann["nickName"] = json!("\\".repeat(32_000));
    let made = world.post("/Users", &ann).await.expect(201);
    assert_eq!(made.json()["nickName"], ann["nickName"]);
    assert!(made.body.len() > 64_000);
}
