//! Checks of the state at the end of a history: the table, lists, look-ups, webhooks and tokens.

use super::*;

impl Checker<'_> {
    /// What is kept is the last of the states, and everything else says the same.
    pub(super) fn at_the_end(&mut self, last: &Final) {
        let live: BTreeMap<&String, &UserState> = self
            .users
            .iter()
            .filter_map(|(id, of)| Some((id, of.values().last()?.as_ref()?)))
            .collect();
        let kept: BTreeMap<&String, UserState> = last
            .users
            .iter()
            .map(|(id, user)| (id, UserState::of(user)))
            .collect();
        for id in live.keys().chain(kept.keys()).collect::<BTreeSet<_>>() {
            let (event, item) = (live.get(*id), kept.get(*id));
            if event.copied() != item {
                self.wrong(
                    "fold",
                    format!("User {id} is {item:?}, and by its events {event:?}"),
                );
            }
        }
        let mut names = BTreeSet::new();
        for user in kept.values() {
            if !names.insert(&user.name) {
                self.wrong("unique", format!("two users are {}", user.name));
            }
        }
        let groups: BTreeMap<&String, GroupState> = last
            .groups
            .iter()
            .map(|(id, group)| (id, GroupState::of(group)))
            .collect();
        let told: BTreeMap<&String, &GroupState> = self
            .groups
            .iter()
            .filter_map(|(id, of)| Some((id, of.values().last()?.as_ref()?)))
            .collect();
        for id in told.keys().chain(groups.keys()).collect::<BTreeSet<_>>() {
            let (event, item) = (told.get(*id), groups.get(*id));
            if event.copied() != item {
                self.wrong(
                    "fold",
                    format!("Group {id} is {item:?}, and by its events {event:?}"),
                );
            }
        }
        for (id, group) in &groups {
            for member in &group.members {
                if !last.users.contains_key(member) && !last.groups.contains_key(member) {
                    self.wrong(
                        "nobody",
                        format!("{member} is a member of {id} and does not exist"),
                    );
                }
            }
            let (mut above, mut next) = (BTreeSet::new(), vec![*id]);
            while let Some(of) = next.pop() {
                for member in groups.get(of).into_iter().flat_map(|group| &group.members) {
                    if member == *id {
                        self.wrong("circle", format!("{id} is a member of itself"));
                        next.clear();
                        break;
                    }
                    if above.insert(member) {
                        next.push(member);
                    }
                }
            }
        }
        for (id, user) in &last.users {
            let shown = user["groups"].as_array().cloned().unwrap_or_default();
            let shown: BTreeSet<&str> = shown
                .iter()
                .filter(|group| group["type"] == "direct")
                .filter_map(|group| group["value"].as_str())
                .map(|id| {
                    last.groups
                        .get_key_value(id)
                        .map_or("gone", |(id, _)| id.as_str())
                })
                .collect();
            let of = groups
                .iter()
                .filter(|(_, group)| group.members.contains(id));
            let of: BTreeSet<&str> = of.map(|(id, _)| id.as_str()).collect();
            if shown != of {
                self.wrong(
                    "user.groups",
                    format!("User {id} shows {shown:?} and is in {of:?}"),
                );
            }
        }
        let bus: BTreeSet<(String, String)> = last
            .events
            .iter()
            .filter(|event| event["detail"]["directory_id"] == last.directory.as_str())
            .filter_map(|event| {
                let id = event["detail"]["id"].as_str()?;
                Some((id.to_owned(), event["detail-type"].as_str()?.to_owned()))
            })
            .collect();
        let log: BTreeSet<(String, String)> = last.log.iter().cloned().collect();
        if bus != log {
            let what = format!(
                "only on the bus: {:?}; only in the log: {:?}",
                bus.difference(&log).collect::<Vec<_>>(),
                log.difference(&bus).collect::<Vec<_>>()
            );
            self.wrong("log", what);
        }
    }

    /// Users who are each other's managers are there all or none.
    pub(super) fn circles(&mut self) {
        let live = |name: &str| {
            let mut states = self
                .users
                .values()
                .filter_map(|of| of.values().last()?.as_ref());
            states.any(|state| state.name == name)
        };
        let mut wrong = vec![];
        for record in self.records {
            let Operation::Circle(place, count) = record.operation else {
                continue;
            };
            let there = (0..count).filter(|n| live(&user_name(place + n))).count();
            if there != 0 && there != count {
                wrong.push(format!("{there} of {count} are there: {record}"));
            }
            let answers = record
                .answer
                .as_ref()
                .map(|answer| &answer.body["Operations"]);
            let answers = answers.and_then(Value::as_array);
            let created = answers.map(|all| all.iter().all(|one| one["status"] == "201"));
            if created == Some(true) && there != count {
                wrong.push(format!(
                    "{there} are there of those who were acknowledged: {record}"
                ));
            }
        }
        for what in wrong {
            self.wrong("bulk-circle", what);
        }
    }

    /// Each event of the first directory, and `directory.deleted` of the second one, was delivered to the webhook of its
    /// directory, and nothing else was. Other events that wait when a directory is deleted are not delivered any more.
    pub(super) fn webhooks(&mut self, last: &Final) {
        // The member is read when the event is published, so a repeated event may hold newer data.
        let mut published: HashMap<&str, (&str, Vec<&Value>)> = HashMap::new();
        for event in &last.events {
            let of = if event["detail"]["directory_id"] == last.directory.as_str() {
                "/one"
            } else {
                "/two"
            };
            if let Some(id) = event["detail"]["id"].as_str() {
                published.entry(id).or_insert((of, vec![])).1.push(event);
            }
        }
        let mut missing: HashMap<&str, &Value> = published
            .iter()
            .map(|(id, (of, events))| (*id, *of, &events[0]["detail-type"]))
            .filter(|(_, of, kind)| *of == "/one" || *kind == "directory.deleted")
            .map(|(id, _, kind)| (id, kind))
            .collect();
        for delivered in &last.delivered {
            let id = delivered.id.as_str();
            missing.remove(id);
            let right = published.get(id).is_some_and(|(of, events)| {
                let same = |event: &&Value| {
                    delivered.body["type"] == event["detail-type"]
                        && delivered.body["detail"] == event["detail"]
                };
                delivered.to == *of && delivered.body["id"] == id && events.iter().any(same)
            });
            if !right {
                let what = format!("no such event is on the bus: {delivered:?}");
                self.wrong("webhook", what);
            }
        }
        for (id, kind) in missing {
            self.wrong("webhook", format!("{kind} {id} was not delivered"));
        }
    }

    /// A token is good from its answer on, and until the second rotation after it.
    pub(super) fn tokens(&mut self, rotations: &[Rotation], last: &Final) {
        let issued = |token: usize| {
            rotations
                .iter()
                .find(|rotation| rotation.token == Some(token))
        };
        let mut wrong = vec![];
        for record in self.records {
            if record.status() != 401 {
                continue;
            }
            let own = issued(record.token);
            let later = rotations.iter().filter(|other| {
                let before = match (own, other.responded) {
                    (Some(own), Some(responded)) => responded < own.invoked,
                    _ => false,
                };
                let begun = record.responded.is_none_or(|end| other.invoked <= end);
                !before && begun && !other.refused && other.token != Some(record.token)
            });
            if later.count() <= 1 {
                wrong.push(format!("token {} is good: {record}", record.token));
            }
        }
        for rotation in rotations {
            let Some(token) = rotation.token else {
                continue;
            };
            // Of two that overlap either may be the later one.
            let superseded = rotations.iter().any(|other| {
                let before = other.responded.is_some_and(|end| end < rotation.invoked);
                !before && !other.refused && other.number != rotation.number
            });
            if !superseded && last.tokens.get(token) != Some(&true) {
                wrong.push(format!(
                    "token {token} is dead and no later rotation has begun: {rotations:?}"
                ));
            }
        }
        // One of them was the last one, and its token is known if all of them were answered.
        let answered = rotations
            .iter()
            .all(|rotation| rotation.refused || rotation.token.is_some());
        if answered && !last.tokens.contains(&true) {
            wrong.push(format!("no token is good: {rotations:?}"));
        }
        for what in wrong {
            self.wrong("token", what);
        }
    }
}
