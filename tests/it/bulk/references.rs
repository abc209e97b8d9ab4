//! References between operations, and cycles of them (RFC 7644 §3.7.1, §3.7.2).

use super::*;

/// RFC 7644 §3.7.1, §3.7.2 (B2).
#[tokio::test(flavor = "multi_thread")]
async fn referenced_resources_are_created_first_at_any_depth() {
    let world = World::new().await;
    let outcomes = world
        .bulk(&[
            with_members("all", ["east", "west", "dan"]),
            with_members("east", ["ann", "bob"]),
            managed("ann", "bob"),
            with_members("west", ["cat"]),
            managed("bob", "cat"),
            named("cat"),
            named("dan"),
        ])
        .await;
    assert_eq!(statuses(&outcomes), ["201"; 7]);
    let all = world.get(&format!("/Groups/{}", id(&outcomes[0]))).await;
    let members: BTreeSet<String> = all.expect(200).json()["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member["value"].as_str().unwrap().to_owned())
        .collect();
    let expected = [1, 3, 6].map(|one| id(&outcomes[one]).to_owned());
    assert_eq!(members, BTreeSet::from(expected));
    let ann = world.get(&format!("/Users/{}", id(&outcomes[2]))).await;
    let ann = ann.expect(200).json();
    assert_eq!(ann[ENTERPRISE]["manager"]["value"], id(&outcomes[4]));
    assert_eq!(ann["groups"].as_array().unwrap().len(), 2, "{ann}");
    let events = world.events().await;
    let count = |kind: &str| {
        events
            .iter()
            .filter(|event| event["detail-type"] == kind)
            .count()
    };
    let counts = [
        "user.created",
        "group.created",
        "group.user_added",
        "group.group_added",
    ];
    assert_eq!(counts.map(count), [4, 3, 4, 2]);
}

/// A reference may stand in a PATCH and in a PUT, and a path may be one.
/// RFC 7644 §3.7.1, §3.7.2 (B2).
#[tokio::test(flavor = "multi_thread")]
async fn references_work_in_every_operation() {
    let world = World::new().await;
    let old = world.post("/Users", &user("old")).await.expect(201).id();
    let reference = json!([{"value": "bulkId:new", "$ref": "bulkId:new", "display": "New"}]);
    let outcomes = world
        .bulk(&[
            patch(
                "/Groups/bulkId:g",
                json!([{"op": "add", "path": "members", "value": reference}]),
            ),
            on(
                "PUT",
                &format!("/Users/{old}"),
                json!({"userName": "old", ENTERPRISE: {"manager": {"value": "bulkId:new"}}}),
            ),
            named("new"),
            with_members("g", []),
            replace("/Users/bulkId:new", "title", json!("bulkId:g")),
        ])
        .await;
    assert_eq!(statuses(&outcomes), ["200", "200", "201", "201", "200"]);
    let group = world.get(&format!("/Groups/{}", id(&outcomes[3]))).await;
    assert_eq!(group.json()["members"][0]["value"], id(&outcomes[2]));
    let old = world.get(&format!("/Users/{old}")).await.json();
    assert_eq!(old[ENTERPRISE]["manager"]["value"], id(&outcomes[2]));
    let new = world.get(&format!("/Users/{}", id(&outcomes[2]))).await;
    assert_eq!(new.json()["title"], id(&outcomes[3]));
    assert_eq!(outcomes[4]["version"], "W/\"2\"");
}

/// A failed operation fails the operations that refer to it, and no others.
/// RFC 7644 §3.7.1, §3.7.2 (B2).
#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_refers_to_a_failed_one_is_409() {
    let world = World::new().await;
    world.post("/Users", &user("taken")).await.expect(201);
    world.events().await;
    let outcomes = world
        .bulk(&[
            with_members("g", ["ann", "taken"]),
            named("taken"),
            managed("bob", "taken"),
            managed("cat", "bob"),
            replace("/Users/bulkId:cat", "title", json!("x")),
            named("ann"),
            with_members("h", ["ann"]),
            with_members("i", ["typo"]),
        ])
        .await;
    let expected = ["409", "409", "409", "409", "409", "201", "201", "409"];
    assert_eq!(statuses(&outcomes), expected);
    for (outcome, name) in [
        (0, "taken"),
        (2, "taken"),
        (3, "bob"),
        (4, "cat"),
        (7, "typo"),
    ] {
        let outcome = &outcomes[outcome];
        assert!(detail(outcome).contains(&format!("\"bulkId:{name}\"")));
        assert_eq!(outcome["response"].get("scimType"), None);
        assert_eq!(outcome.get("location"), None);
    }
    assert_eq!(world.totals().await, (json!(2), json!(1)));
    assert_eq!(world.events().await.len(), 3);
}

/// RFC 7644 §3.7.1, §3.7.2 (B2).
#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_of_any_size_is_created_with_all_ids() {
    let world = World::new().await;
    let ring = |n: usize| managed(&format!("u{n}"), &format!("u{}", (n * 7 + 3) % 40));
    let mut operations: Vec<Value> = (0..40).map(ring).collect();
    operations.insert(0, with_members("all", ["u0", "u39"]));
    let outcomes = world.bulk(&operations).await;
    assert_eq!(statuses(&outcomes), vec!["201"; 41]);
    for n in 0..40 {
        let one = world.get(&format!("/Users/{}", id(&outcomes[n + 1]))).await;
        let manager = &outcomes[(n * 7 + 3) % 40 + 1];
        assert_eq!(one.json()[ENTERPRISE]["manager"]["value"], id(manager));
    }
    assert_eq!(world.totals().await, (json!(40), json!(1)));
}

/// All or none: users that were created before the failure are deleted again, and the corrected request succeeds.
/// RFC 7644 §3.7.1, §3.7.2 (B2).
#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_with_a_failed_operation_leaves_nothing() {
    let world = World::new().await;
    world.post("/Users", &user("u5")).await.expect(201);
    let circle = |fifth: &str| -> Vec<Value> {
        let mut operations: Vec<Value> = (0..9)
            .map(|n| managed(&format!("u{n}"), &format!("u{}", (n + 1) % 9)))
            .collect();
        operations[5]["data"]["userName"] = json!(fifth);
        operations.push(with_members("behind", ["u3"]));
        operations.push(named("beside"));
        operations
    };
    for errors in [0, 1, 4] {
        world.events().await;
        let outcomes = world.bulk_until(errors, &circle("u5")).await;
        let failed = outcomes
            .iter()
            .find(|outcome| outcome["bulkId"] == "u5")
            .unwrap();
        assert_eq!(failed["response"]["scimType"], "uniqueness");
        for outcome in &outcomes {
            if outcome["bulkId"] == "beside" {
                assert_eq!(outcome["status"], "201");
            } else if outcome["bulkId"] != "u5" {
                assert_eq!(outcome["status"], "409");
                let expected = if outcome["bulkId"] == "behind" {
                    "bulkId:u3"
                } else {
                    "bulkId:u5"
                };
                assert!(detail(outcome).contains(expected), "{outcome}");
            }
        }
        if errors == 0 {
            assert_eq!(outcomes.len(), 11);
            let path = format!("/Users/{}", id(&outcomes[10]));
            world.delete(&path).await.expect(204);
        }
        assert_eq!(world.totals().await, (json!(1), json!(0)));
        // Each published creation has a published deletion.
        let mut there = BTreeSet::new();
        for event in world.events().await {
            let id = event["detail"]["resource"]["id"].as_str().unwrap();
            match event["detail-type"].as_str().unwrap() {
                "user.created" => assert!(there.insert(id.to_owned())),
                "user.deleted" => assert!(there.remove(id)),
                other => panic!("{other}"),
            }
        }
        assert_eq!(there, BTreeSet::new());
    }
    let outcomes = world.bulk(&circle("free")).await;
    assert_eq!(statuses(&outcomes), vec!["201"; 11]);
}

/// No user is created of whom it is known that the rollback would delete it.
#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_stops_at_its_first_failure() {
    let world = World::new().await;
    world.post("/Users", &user("u0")).await.expect(201);
    world.events().await;
    world.delay(30, |_| true);
    let circle: Vec<Value> = (0..60)
        .map(|n| managed(&format!("u{n}"), &format!("u{}", (n + 1) % 60)))
        .collect();
    let outcomes = world.bulk(&circle).await;
    assert_eq!(statuses(&outcomes), vec!["409"; 60]);
    assert_eq!(outcomes[0]["response"]["scimType"], "uniqueness");
    let events = world.events().await.len();
    assert!(events < 60, "{events}");
    assert_eq!(world.totals().await.0, 1);
}

/// An error after which it is not clear whether anything was written.
/// RFC 7644 §3.7.1, §3.7.2 (B2).
#[tokio::test(start_paused = true)]
async fn a_creation_with_an_unknown_outcome_is_rolled_back_too() {
    let world = World::here().await;
    world.cloud.set_faults(|info| {
        let creates_bob = info.operation == "TransactWriteItems"
            && info.input()["TransactItems"]
                .as_array()
                .unwrap()
                .iter()
                .any(|write| {
                    let sk = &write["Put"]["Item"]["SK"]["S"];
                    write["Put"]["ConditionExpression"].is_string() && *sk == "bob"
                });
        if creates_bob {
            Fault::DropAnswer
        } else {
            Fault::Pass
        }
    });
    let outcomes = world
        .bulk_until(1, &[managed("ann", "bob"), managed("bob", "ann")])
        .await;
    world.cloud.clear_faults();
    assert_eq!(statuses(&outcomes), ["409", "500"]);
    assert_eq!(world.totals().await, (json!(0), json!(0)));
    let kinds: Vec<Value> = world
        .events()
        .await
        .iter()
        .map(|event| event["detail-type"].clone())
        .collect();
    let pair = ["user.created", "user.deleted"];
    assert_eq!(kinds.iter().filter(|kind| **kind == pair[0]).count(), 2);
    assert_eq!(kinds.iter().filter(|kind| **kind == pair[1]).count(), 2);
}

/// What a user says of a group, and the group of the user: the user is first.
/// RFC 7644 §3.7.1, §3.7.2 (B2).
#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_with_groups_is_rolled_back() {
    let world = World::new().await;
    let operations = |last: &str| {
        let mut ann = managed("ann", "bob");
        ann["data"]["title"] = json!("bulkId:g");
        let mut bob = managed("bob", "ann");
        bob["data"]["userName"] = json!(last);
        let mut g = with_members("g", ["ann", "bob"]);
        g["data"]["externalId"] = json!("g");
        vec![g, ann, bob]
    };
    let outcomes = world.bulk(&operations("bob")).await;
    assert_eq!(statuses(&outcomes), ["201"; 3]);
    let ann = world.get(&format!("/Users/{}", id(&outcomes[1]))).await;
    assert_eq!(ann.json()["title"], id(&outcomes[0]));

    // The group fails, after both users.
    let mut operations = operations("bert");
    operations[1]["data"]["userName"] = json!("anna");
    operations[0]["data"]["displayName"] = json!(7);
    let outcomes = world.bulk(&operations).await;
    assert_eq!(statuses(&outcomes), ["400", "409", "409"]);
    assert_eq!(world.totals().await, (json!(2), json!(1)));
}

/// Where an undoing fails, the answer says what is left.
/// RFC 7644 §3.7.1, §3.7.2 (B2).
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_rollback_is_reported() {
    let world = World::new().await;
    world.post("/Users", &user("bob")).await.expect(201);
    world.cloud.set_faults(|info| {
        let deletes = info.operation == "TransactWriteItems"
            && info.input()["TransactItems"][0].get("Delete").is_some();
        if deletes {
            Fault::Error {
                status: 400,
                code: "ValidationException",
                message: "no",
            }
        } else {
            Fault::Pass
        }
    });
    let outcomes = world
        .bulk_until(1, &[managed("ann", "bob"), managed("bob", "ann")])
        .await;
    world.cloud.clear_faults();
    assert_eq!(statuses(&outcomes), ["409", "409"]);
    assert!(detail(&outcomes[0]).ends_with("is deleted within minutes."));
    let path = format!("/Users/{}", id(&outcomes[0]));
    world.delete(&path).await.expect(204);
}
