//! Changes that are interrupted after any of their requests to DynamoDB.

use super::*;

/// Interrupts a PATCH after each of its requests. Then another client changes the group, and the PATCH is repeated.
async fn interrupt_and_repeat(
    world: &World,
    ids: &[String],
    points: impl Iterator<Item = usize>,
    wanted: Wanted,
) {
    let (crowd, other) = (&ids[..ids.len() - 1], &ids[ids.len() - 1..]);
    let mut announced = Announced::default();
    for point in points {
        let initial: &[String] = match wanted {
            Wanted::Added => &[],
            Wanted::Removed => crowd,
        };
        let path = group(world, "g", initial).await;
        announced.take(&world.events().await);
        let begun = announced.count();
        let operations = match wanted {
            Wanted::Added => add(crowd),
            Wanted::Removed => json!([{"op": "replace", "path": "members", "value": []}]),
        };
        let doomed = world.cold().await;
        // Its token is checked before it is followed.
        doomed.get("/Groups?count=0").await.expect(200);
        let request = {
            let (path, operations) = (path.clone(), operations.clone());
            async move { doomed.patch(&path, operations).await }
        };
        let ended = interrupted_after(world, point, request).await;

        // A reader sees all of the change or none of it.
        let size = shown(world, &path).await.len();
        assert!(
            size == 0 || size == crowd.len(),
            "{size} after {point} requests"
        );
        let user = world.get(&format!("/Users/{}", crowd[0])).await.json();
        let groups = user["groups"].as_array().cloned().unwrap_or_default();
        assert_eq!(
            groups.iter().any(|group| group["value"] == id_of(&path)),
            size > 0
        );

        // When the lease is over another writer ends what was begun, and then the request comes again.
        world.wait(61);
        let second = world.cold().await;
        let answer = second.patch(&path, add(other)).await;
        assert!([200, 204].contains(&answer.status.as_u16()), "{answer:?}");
        let answer = world.cold().await.patch(&path, operations).await;
        assert!([200, 204].contains(&answer.status.as_u16()), "{answer:?}");
        let stored = shown(world, &path).await;
        let expected: BTreeSet<String> = match wanted {
            Wanted::Added => ids.iter().cloned().collect(),
            // Everybody is removed, the other as well.
            Wanted::Removed => BTreeSet::new(),
        };
        assert_eq!(stored, expected, "after {point} requests");
        assert_swept(world, &path).await;
        announced.take(&world.events().await);
        assert_eq!(stored, announced.members(id_of(&path)));
        let more = match wanted {
            Wanted::Added => ids.len(),
            Wanted::Removed => crowd.len() + 2,
        };
        assert_eq!(
            announced.count(),
            begun + more,
            "each is announced once, after {point} requests"
        );
        if ended {
            return;
        }
    }
}

#[derive(Clone, Copy)]
enum Wanted {
    Added,
    Removed,
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_1_000_members_may_be_interrupted_anywhere() {
    let world = World::new().await;
    let ids = users(&world, 1_001).await;
    // 63 requests in a process that has just started; between those of one round every third.
    let points = (1..=63).filter(|n| *n < 14 || *n > 50 || n % 3 == 0);
    interrupt_and_repeat(&world, &ids, points.chain([usize::MAX]), Wanted::Added).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_1_000_members_may_be_interrupted_anywhere() {
    let world = World::new().await;
    let ids = users(&world, 1_001).await;
    let points = (1..=46).filter(|n| *n < 8 || *n > 42 || n % 5 == 0);
    interrupt_and_repeat(&world, &ids, points.chain([usize::MAX]), Wanted::Removed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_8_000_members_may_be_interrupted_anywhere() {
    let world = Arc::new(World::new().await);
    let lanes = (0..8).map(|lane| {
        let world = world.clone();
        tokio::spawn(async move {
            let mut ids = vec![];
            for n in 0..1_000 {
                let user = json!({"userName": format!("u{lane}-{n}")});
                ids.push(world.post("/Users", &user).await.expect(201).id());
            }
            ids
        })
    });
    let mut ids = vec![];
    for lane in lanes.collect::<Vec<_>>() {
        ids.extend(lane.await.unwrap());
    }
    ids.push(
        world
            .post("/Users", &json!({"userName": "other"}))
            .await
            .expect(201)
            .id(),
    );
    world.events().await;
    // 1 to read, 1 + 80 to mark and read, 320 to write, 80 to check, 1 to commit.
    interrupt_and_repeat(
        &world,
        &ids,
        [2, 83, 250, 401, 470, 482, 483].into_iter(),
        Wanted::Added,
    )
    .await;
}

/// The creation of a group with more members than a transaction holds is interrupted after each request. The group does not
/// exist, its rows are not visible, and the deletion of a user that has a row in it removes them.
#[tokio::test(flavor = "multi_thread")]
async fn creating_a_group_may_be_interrupted_anywhere() {
    let world = World::new().await;
    let ids = users(&world, 250).await;
    world.events().await;
    let mut swept = 0;
    for point in 1.. {
        let gone = world
            .post("/Users", &json!({"userName": format!("gone{point}")}))
            .await
            .expect(201)
            .id();
        let mut all = ids.clone();
        all.push(gone.clone());
        let body = json!({"displayName": "g", "members": members(&all)});
        let doomed = world.cold().await;
        doomed.get("/Groups?count=0").await.expect(200);
        let request = {
            let body = body.clone();
            async move { doomed.post("/Groups", &body).await }
        };
        let ended = interrupted_after(&world, point, request).await;
        let found = world
            .get("/Groups?excludedAttributes=members")
            .await
            .expect(200)
            .json();
        assert_eq!(found["totalResults"], u8::from(ended));
        let before = all_rows(&world).await;
        if !ended {
            for start in [1, 101, 201] {
                let page = format!("/Users?startIndex={start}&count=100&attributes=groups");
                let page = world.get(&page).await.expect(200).json().to_string();
                assert!(!page.contains("/Groups/"), "after {point} requests");
            }
        }
        world.wait(61);
        world.delete(&format!("/Users/{gone}")).await.expect(204);
        let after = all_rows(&world).await;
        let mut announced = Announced::default();
        announced.take(&world.events().await);
        if ended {
            let path = format!("/Groups/{}", found["Resources"][0]["id"].as_str().unwrap());
            assert_eq!(shown(&world, &path).await, ids.iter().cloned().collect());
            assert_eq!(
                announced.members(id_of(&path)),
                ids.iter().cloned().collect()
            );
            assert_swept(&world, &path).await;
            assert!(point > 13 && swept > 3, "{point} {swept}");
            return;
        }
        let mut expected = before.clone();
        if let Some((group, _)) = before.iter().find(|(_, member)| *member == gone) {
            swept += 1;
            expected.retain(|(of, _)| of != group);
        }
        assert_eq!(after, expected, "after {point} requests");
        assert_eq!(announced.count(), 0);
    }
}

/// The deletion of a user with many groups is interrupted after each request, and completed by the next deletion.
#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_user_may_be_interrupted_anywhere() {
    let world = World::new().await;
    for point in 1.. {
        let user = json!({"userName": format!("u{point}")});
        let id = world.post("/Users", &user).await.expect(201).id();
        let mut paths = vec![];
        for n in 0..4 {
            paths.push(group(&world, &format!("g{n}"), std::slice::from_ref(&id)).await);
        }
        let mut announced = Announced::default();
        let doomed = world.cold().await;
        doomed.get("/Users?count=0").await.expect(200);
        let delete = format!("/Users/{id}");
        let request = {
            let delete = delete.clone();
            async move { doomed.delete(&delete).await }
        };
        let ended = interrupted_after(&world, point, request).await;
        let again = world.delete(&delete).await.status.as_u16();
        assert!([204, 404].contains(&again), "{again}");
        world.get(&delete).await.expect(404);
        announced.take(&world.events().await);
        for path in &paths {
            assert_eq!(
                shown(&world, path).await,
                BTreeSet::new(),
                "after {point} requests"
            );
            assert_eq!(announced.members(id_of(path)), BTreeSet::new());
            assert_swept(&world, path).await;
            world.delete(path).await.expect(204);
        }
        assert_eq!(announced.count(), 8, "four begun and four ended, each once");
        world.events().await;
        if ended {
            assert!(point > 8);
            return;
        }
    }
}

/// The same for a group of more members than a transaction holds.
#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_group_may_be_interrupted_anywhere() {
    let world = World::new().await;
    let ids = users(&world, 250).await;
    for point in 1.. {
        let path = group(&world, "g", &ids).await;
        let mut announced = Announced::default();
        let doomed = world.cold().await;
        doomed.get("/Groups?count=0").await.expect(200);
        let request = {
            let path = path.clone();
            async move { doomed.delete(&path).await }
        };
        let ended = interrupted_after(&world, point, request).await;
        let again = world.delete(&path).await.status.as_u16();
        assert_eq!(
            again,
            if ended { 404 } else { 204 },
            "after {point} requests"
        );
        world.get(&path).await.expect(404);
        let events = world.events().await;
        let deleted = events
            .iter()
            .filter(|event| event["detail-type"] == "group.deleted")
            .count();
        assert_eq!(deleted, 1);
        announced.take(&events);
        assert_eq!(announced.members(id_of(&path)), BTreeSet::new());
        assert_eq!(
            announced.count(),
            500,
            "each membership begun and ended once, after {point} requests"
        );
        let (rows, others, head) = kept(&world, &path).await;
        assert_eq!((rows, others.len(), head.is_none()), (0, 0, true));
        let user = world.get(&format!("/Users/{}", ids[0])).await.json();
        assert!(user.get("groups").is_none());
        if ended {
            assert!(point > 6);
            return;
        }
    }
}
