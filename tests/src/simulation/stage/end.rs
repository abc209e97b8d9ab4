//! The end of a history: what is read and handed to the checks.

use super::*;

impl Stage {
    /// Reads everything there is, and compares.
    pub(super) async fn judge(&self, history: &History) -> Outcome {
        let mut violations = vec![];
        self.kill(0);
        let mut last = Final::default();
        let tokens = lock(&self.tokens).clone();
        for token in &tokens {
            let to = (self.directory, "/Users?count=0");
            let answer = self.send(0, token, Method::GET, to, None, None).await;
            last.tokens
                .push(answer.is_some_and(|answer| answer.status == 200));
        }
        let good = last.tokens.iter().rposition(|good| *good);
        let token = match good {
            Some(index) => tokens[index].clone(),
            None => {
                let gateway = lock(&self.processes[0]).gateway.clone();
                let rotated = gateway.rotate_token(self.directory, GRACE, None).await;
                rotated.unwrap().unwrap().token.expose().to_owned()
            }
        };
        let get = async |path: &str| {
            let to = (self.directory, path);
            self.send(0, &token, Method::GET, to, None, None).await
        };
        for event in self.cloud.bus().take_events() {
            last.events.push(event);
        }
        for list in ["/Users?count=200", "/Groups?count=200"] {
            let Some(answer) = get(list).await.filter(|answer| answer.status == 200) else {
                violations.push(check::violation(
                    "list",
                    format!("GET {list} fails at the end"),
                ));
                continue;
            };
            let found = answer.body["Resources"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            if answer.body["totalResults"].as_u64() != Some(found.len() as u64) {
                let what = format!(
                    "GET {list}: totalResults is {}, and {} are there",
                    answer.body["totalResults"],
                    found.len()
                );
                violations.push(check::violation("count", what));
            }
            let all = if list.starts_with("/Users") {
                &mut last.users
            } else {
                &mut last.groups
            };
            for resource in found {
                all.insert(
                    resource["id"].as_str().unwrap_or_default().to_owned(),
                    resource,
                );
            }
        }
        for (id, user) in &last.users {
            let name = user["userName"].as_str().unwrap_or_default();
            let answer = get(&format!("/Users?filter=userName%20eq%20%22{name}%22")).await;
            let found = answer.map(|answer| answer.body["Resources"][0]["id"].clone());
            if found != Some(json!(id)) {
                violations.push(check::violation(
                    "look-up",
                    format!("{name} leads to {found:?} and not to {id}"),
                ));
            }
        }
        // What is kept beside resources: leftovers, and the second directory.
        for item in self.items().await {
            let text = |name: &str| {
                item.get(name)
                    .and_then(|value| value.as_s().ok())
                    .cloned()
                    .unwrap_or_default()
            };
            let (pk, sk) = (text("PK"), text("SK"));
            if sk == "creating"
                || sk == "deleted"
                || sk.starts_with("removed#")
                || item.contains_key("stagedWrite")
            {
                violations.push(check::violation("leftover", format!("{pk} / {sk}")));
            }
            if pk.starts_with(&self.elsewhere.0.to_string()) && !pk.ends_with("#E") {
                last.elsewhere += 1;
            }
        }
        last.deletion = lock(&self.deletions).clone();
        last.is_elsewhere = self.elsewhere.0.to_string();
        last.delivered = std::mem::take(&mut *lock(&self.delivered));
        let asked = EventsAsked::default();
        let later = self.base + SignedDuration::from_hours(24 * 10);
        let events = self.stack.gateway().store();
        let events = events
            .events(self.directory, &asked, None, 10_000, later)
            .await
            .unwrap();
        for (_, event) in events.events {
            let detail: Value = serde_json::from_str(&event.detail).unwrap();
            last.log.push((
                detail["id"].as_str().unwrap_or_default().to_owned(),
                event.detail_type.as_str().to_owned(),
            ));
        }
        // Nothing is locked: everything can still be changed.
        for (path, name) in last
            .users
            .keys()
            .map(|id| (format!("/Users/{id}"), "nickName"))
            .chain(
                last.groups
                    .keys()
                    .map(|id| (format!("/Groups/{id}"), "externalId")),
            )
        {
            let body = json!({"schemas": [PATCH_OP], "Operations": [{"op": "add", "path": name, "value": "last"}]});
            let to = (self.directory, path.as_str());
            let answer = self
                .send(0, &token, Method::PATCH, to, Some(&body), None)
                .await;
            if !answer
                .as_ref()
                .is_some_and(|answer| [200, 204].contains(&answer.status))
            {
                violations.push(check::violation(
                    "locked",
                    format!("PATCH {path} at the end: {answer:?}"),
                ));
            }
        }
        last.directory = self.directory.to_string();
        last.lossy = [
            Disorder::LOST_ANSWERS,
            Disorder::LATE_REQUESTS,
            Disorder::THROTTLING,
        ]
        .iter()
        .any(|class| history.disorder.has(*class));
        let mut records = std::mem::take(&mut *lock(&self.records));
        records.sort_by_key(|record| record.invoked);
        let rotations = std::mem::take(&mut *lock(&self.rotations));
        violations.extend(check::check(&records, &rotations, &last));
        let mut statuses = BTreeMap::new();
        for record in &records {
            *statuses
                .entry(record.answer.as_ref().map_or(0, |answer| answer.status))
                .or_default() += 1;
        }
        let mut transcript: Vec<String> = history.steps.iter().map(ToString::to_string).collect();
        transcript.extend(
            records
                .iter()
                .filter(|record| record.number != usize::MAX)
                .map(ToString::to_string),
        );
        transcript.extend(rotations.iter().map(|rotation| format!("{rotation:?}")));
        transcript.extend(check::told(&last));
        Outcome {
            violations,
            transcript,
            requests: self.layer.requests(),
            statuses,
        }
    }

    /// Every item of the table.
    async fn items(&self) -> Vec<HashMap<String, aws_sdk_dynamodb::types::AttributeValue>> {
        let client = aws_sdk_dynamodb::Client::new(self.cloud.config());
        let table = self.stack.template().table.name.clone();
        let scanned = client
            .scan()
            .table_name(table)
            .into_paginator()
            .items()
            .send();
        scanned.collect::<Result<Vec<_>, _>>().await.unwrap()
    }
}
