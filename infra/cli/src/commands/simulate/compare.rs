//! Compares the directory with the plan at the end. An administrator would notice such a difference late, by a user who still
//! has access, or a group without members.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::expectations::id;
use super::organisation::{Person, Profile};
use super::plan::{Group, Plan, Standing};
use super::report::Verified;
use super::runner::Ids;

/// The numbers of resources in the directory, and every difference from the plan. Resources whose creation failed were reported
/// before, and are only counted.
pub(super) fn compare(
    plan: &Plan,
    ids: &Ids,
    users: &[Value],
    groups: &[Value],
) -> (Verified, Vec<String>) {
    let mut verified = Verified::default();
    let mut differences = vec![];
    let by_id = by_id(users);
    for (index, person) in plan.people.iter().enumerate() {
        match ids.user(index).map(|id| by_id.get(id)) {
            None => verified.absent += 1,
            Some(None) => differences.push(format!("{} is missing", person.user_name)),
            Some(Some(user)) => {
                verified.users += 1;
                verified.active += usize::from(user.get("active") == Some(&json!(true)));
                differences.extend(user_differences(user, plan, index, person));
            }
        }
    }
    let by_id = self::by_id(groups);
    for (index, planned) in plan.groups.iter().enumerate() {
        let group = ids.group(index).map(|id| by_id.get(id));
        match (planned, group) {
            (_, None) => verified.absent += 1,
            (None, Some(None)) => {}
            (None, Some(Some(group))) => differences.push(format!(
                "the group {} is still there",
                group.get("displayName").unwrap_or(&Value::Null)
            )),
            (Some(planned), Some(None)) => {
                differences.push(format!("the group {} is missing", planned.name));
            }
            (Some(planned), Some(Some(group))) => {
                verified.groups += 1;
                verified.memberships += member_ids(group).len();
                differences.extend(group_differences(group, planned, ids));
            }
        }
    }
    let there = users.len() + groups.len();
    verified.others = there.saturating_sub(verified.users + verified.groups);
    (verified, differences)
}

fn by_id(resources: &[Value]) -> BTreeMap<&str, &Value> {
    resources
        .iter()
        .filter_map(|resource| Some((id(resource)?, resource)))
        .collect()
}

fn user_differences(user: &Value, plan: &Plan, index: usize, person: &Person) -> Vec<String> {
    let active = plan.standing.get(index) == Some(&Standing::Active);
    let profile: &Profile = match plan.changed.contains(&index) {
        true => &person.later,
        false => &person.profile,
    };
    [
        ("userName", "/userName", json!(person.user_name)),
        ("externalId", "/externalId", json!(person.external_id)),
        ("active", "/active", json!(active)),
        (
            "name.givenName",
            "/name/givenName",
            json!(profile.given_name),
        ),
        (
            "name.familyName",
            "/name/familyName",
            json!(profile.family_name),
        ),
        ("displayName", "/displayName", json!(profile.display_name())),
        ("title", "/title", json!(profile.title)),
        ("emails", "/emails/0/value", json!(person.user_name)),
    ]
    .into_iter()
    .filter_map(|(name, pointer, wanted)| {
        let there = user.pointer(pointer).unwrap_or(&Value::Null);
        (*there != wanted).then(|| {
            format!(
                "{}: {name} is {there}, and {wanted} in Okta",
                person.user_name
            )
        })
    })
    .collect()
}

fn member_ids(group: &Value) -> BTreeSet<&str> {
    group
        .get("members")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|member| member.get("value").and_then(Value::as_str))
        .collect()
}

fn group_differences(group: &Value, planned: &Group, ids: &Ids) -> Vec<String> {
    let name = &planned.name;
    let mut differences = vec![];
    let there = group.get("displayName").unwrap_or(&Value::Null);
    if *there != json!(name) {
        differences.push(format!("the group {name} is called {there}"));
    }
    let members = member_ids(group);
    let wanted = planned.members.iter();
    let wanted: BTreeSet<&str> = wanted.filter_map(|person| ids.user(*person)).collect();
    let lost = wanted.difference(&members).count();
    let foreign = members.difference(&wanted).count();
    if lost + foreign > 0 {
        differences.push(format!(
            "the group {name} lacks {lost} of {} members and has {foreign} that Okta did not push",
            wanted.len()
        ));
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::super::plan::Provider;
    use super::super::requests::Call;
    use super::*;

    /// A plan for one user in one group, with the expected directory at its end.
    fn end() -> (Plan, Ids, Value, Value) {
        let plan = Plan::new(Provider::Oin, 1, 1, 1);
        let ids = Ids::none_of(&plan);
        let mut ann = plan.people[0].clone();
        if plan.changed.contains(&0) {
            ann.profile = ann.later.clone();
        }
        let mut user = Call::create_user(&ann).body.unwrap();
        user["id"] = json!("u1");
        ids.learn_user(0, &user);
        let mut group = json!({"id": "g1", "displayName": plan.groups[0].as_ref().unwrap().name});
        let members = plan.groups[0].as_ref().unwrap().members.iter();
        let members = members.map(|_| json!({"value": "u1"}));
        group["members"] = members.collect();
        ids.learn_group(0, &group);
        (plan, ids, user, group)
    }

    #[test]
    fn what_is_as_it_should_be_is_counted() {
        let (plan, ids, user, group) = end();
        let stranger = json!({"id": "u2"});
        let (verified, differences) = compare(&plan, &ids, &[user, stranger], &[group]);
        assert_eq!(differences, [""; 0]);
        assert_eq!((verified.users, verified.active), (1, 1));
        assert_eq!(
            (verified.groups, verified.others, verified.absent),
            (1, 1, 0)
        );

        let nobody = Ids::none_of(&plan);
        let (verified, differences) = compare(&plan, &nobody, &[], &[]);
        assert_eq!((verified.absent, differences.len()), (2, 0));
    }

    #[test]
    fn differences_name_the_attribute_and_both_values() {
        let (plan, ids, mut user, mut group) = end();
        user["active"] = json!(false);
        let title = user.as_object_mut().unwrap().remove("title").unwrap();
        group["displayName"] = json!("another");
        group["members"] = json!([{"value": "u8"}, {"value": "u9"}]);
        let (_, differences) = compare(&plan, &ids, &[user], &[group]);
        let (name, planned) = (&plan.people[0].user_name, plan.groups[0].as_ref().unwrap());
        let wanted = planned.members.len();
        assert_eq!(
            differences,
            [
                format!("{name}: active is false, and true in Okta"),
                format!("{name}: title is null, and {title} in Okta"),
                format!("the group {} is called \"another\"", planned.name),
                format!(
                    "the group {} lacks {wanted} of {wanted} members and has 2 that Okta did not push",
                    planned.name
                ),
            ]
        );
    }

    #[test]
    fn who_is_missing_and_what_should_be_gone_is_named() {
        let (mut plan, ids, _, group) = end();
        let (_, differences) = compare(&plan, &ids, &[], &[]);
        let (name, planned) = (&plan.people[0].user_name, plan.groups[0].clone().unwrap());
        assert_eq!(
            differences,
            [
                format!("{name} is missing"),
                format!("the group {} is missing", planned.name)
            ]
        );
        plan.groups[0] = None;
        let (_, differences) = compare(&plan, &ids, &[], &[group]);
        let still = format!("the group {:?} is still there", planned.name);
        assert_eq!(differences[1..], [still]);
    }
}
