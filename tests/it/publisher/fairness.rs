//! Order of the events of a directory, and delays between directories.

use super::*;

/// How many events of one directory go before another directory's, at the most: a share, and one that has begun.
const SHARES: usize = 2 * 1_000;

/// A push of 20,000 memberships, and in the middle of its publication a change of another directory.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_directory_delays_another_by_its_share_at_most() {
    let world = World::new().await;
    let other = neighbour(&world).await;
    world.push_20_000().await;
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = seen.clone();
    let (sender, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let waiting = other.directory.clone();
    world.cloud.bus().watch(move |event| {
        let before = counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if event["detail"]["directory_id"] == waiting.as_str() {
            let _ = sender.send(before);
        }
    });
    let publishing = world.stack.publish();
    let begun = std::time::Instant::now();
    while seen.load(std::sync::atomic::Ordering::Relaxed) < 3_000 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        let seen = seen.load(std::sync::atomic::Ordering::Relaxed);
        assert!(begun.elapsed().as_secs() < 60, "{seen} events and no more");
    }
    create(&other, 1).await;
    let when = seen.load(std::sync::atomic::Ordering::Relaxed);
    let before = arrived.recv().await.unwrap() - when;
    assert!(before <= SHARES, "{before} events of others went before");
    publishing.abort();
    let _ = publishing.await;

    let events = world.events().await;
    let own = of(&events, &world);
    let mut members = BTreeMap::new();
    for event in &own {
        let text = |pointer: &str| event.pointer(pointer).unwrap().as_str().unwrap();
        let known = members.insert(text("/detail/member/id"), text("/detail/id"));
        assert!(known.is_none_or(|known| known == text("/detail/id")));
    }
    assert_eq!(members.len(), 20_000, "nothing is lost");
    // A later change of the group is on the bus after an earlier one.
    let mut newest = 0;
    let mut first = BTreeSet::new();
    for event in &own {
        let version = event["detail"]["version"].as_u64().unwrap();
        if first.insert(event["detail"]["id"].as_str().unwrap()) {
            assert!(version >= newest, "{version} after {newest}");
            newest = version;
        }
    }
}

/// The same in simulated time, with a bus that takes 40 ms for each call and a table that takes 5 ms for each request.
#[tokio::test(start_paused = true)]
async fn a_push_of_20_000_members_delays_another_directory_by_2_s_at_most() {
    let world = World::here().await;
    let other = neighbour(&world).await;
    world.push_20_000().await;
    world.cloud.set_faults(|request| {
        Fault::Delay(std::time::Duration::from_millis(match request.service {
            Service::EventBridge => 40,
            _ => 5,
        }))
    });
    let (sender, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let waiting = other.directory.clone();
    world.cloud.bus().watch(move |event| {
        if event["detail"]["directory_id"] == waiting.as_str() {
            let _ = sender.send(());
        }
    });
    let publishing = world.stack.publish();
    let begun = tokio::time::Instant::now();
    for number in 1..=6 {
        // At different moments of the push.
        tokio::time::sleep(std::time::Duration::from_millis(700 + 130 * number)).await;
        let late = user(&format!("late{number}@example.com"));
        other.post("/Users", &late).await.expect(201);
        let changed = tokio::time::Instant::now();
        arrived.recv().await.unwrap();
        let late = changed.elapsed();
        assert!(late.as_secs_f64() <= 2.0, "change {number} after {late:?}");
    }
    publishing.abort();
    let _ = publishing.await;
    world.cloud.clear_faults();
    let pushed = of(&world.cloud.bus().take_events(), &world).len();
    assert!(
        pushed > 1_000 && pushed < 20_000,
        "{pushed} in {:?}",
        begun.elapsed()
    );
}

/// Each event is there under one id, and of each resource an earlier version comes before a later one, repeats apart.
fn check_order(own: &[&Value]) -> BTreeSet<String> {
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for event in own {
        let detail = &event["detail"];
        let resource = detail["resource"]["id"].as_str().unwrap();
        let about = format!(
            "{} {} {} {}",
            event["detail-type"], resource, detail["version"], detail["member"]["id"]
        );
        let id = detail["id"].as_str().unwrap().to_owned();
        if let Some(known) = seen.get(&about) {
            assert_eq!(*known, id, "{about} has two ids");
            continue;
        }
        seen.insert(about, id);
        let version = detail["version"].as_u64().unwrap();
        let newest = newest.entry(resource.to_owned()).or_default();
        assert!(version >= *newest, "{version} of {resource} after {newest}");
        *newest = version;
    }
    seen.into_keys().collect()
}

/// What is published of a directory that is ahead of its share, and of another one, when the process ends at a request;
/// and which requests there were.
async fn interrupted_at(at: Option<usize>) -> Vec<String> {
    let world = World::new().await;
    let other = neighbour(&world).await;
    let ids = create(&world, 2).await;
    let group = directory::ResourceId::random().to_string();
    for (version, members) in [(1, 1_150), (2, 40), (3, 1)] {
        world.push(&group, version, members).await;
    }
    for id in &ids {
        let change = json!([{"op": "replace", "path": "active", "value": false}]);
        world
            .patch(&format!("/Users/{id}"), change)
            .await
            .expect(200);
    }
    let others = create(&other, 3).await;
    let requests = std::sync::Arc::new(std::sync::Mutex::new(vec![]));
    let ended = std::sync::Arc::new(tokio::sync::Notify::new());
    let (log, end) = (requests.clone(), ended.clone());
    world.cloud.set_faults(move |request| {
        if request.service == Service::Streams {
            return Fault::Pass;
        }
        let mut log = log.lock().unwrap();
        log.push(request.operation.clone());
        if Some(log.len()) != at {
            return Fault::Pass;
        }
        end.notify_one();
        Fault::Delay(std::time::Duration::from_secs(3_600))
    });
    tokio::select! {
        drained = world.stack.drain() => drained.unwrap(),
        () = ended.notified() => {}
    }
    world.cloud.clear_faults();
    let events = world.events().await;
    assert_eq!(
        check_order(&of(&events, &world)).len(),
        2 + 1_191 + 2,
        "at {at:?}"
    );
    assert_eq!(
        check_order(&of(&events, &other)).len(),
        others.len(),
        "at {at:?}"
    );
    // Nothing is left behind.
    let store = Store::from_config(world.cloud.config(), "rollcall-Table");
    let backlog = store.backlog(world.directory.parse().unwrap(), 10).await;
    assert_eq!(backlog.unwrap(), directory::Backlog::default(), "at {at:?}");
    assert_eq!(world.cloud.dead_letters(), vec![]);
    requests.lock().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_interrupted_at_any_request_loses_nothing_and_keeps_the_order() {
    let requests = interrupted_at(None).await;
    let writes = requests
        .iter()
        .filter(|name| name.starts_with("BatchWrite"))
        .count();
    assert!(writes >= 2, "more than a share: {requests:?}");
    for (index, name) in requests.iter().enumerate() {
        // Of many requests that are alike some are enough.
        let alike = matches!(name.as_str(), "PutEvents" | "GetItem" | "BatchGetItem");
        if !alike || index % 30 == 0 {
            interrupted_at(Some(index + 1)).await;
        }
    }
}
