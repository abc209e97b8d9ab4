//! The order in which the operations of a bulk message are performed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};

use super::request::{BulkOperation, BulkRequest, Target};

/// The execution order of the operations of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The steps in their order. Each operation is in exactly one step.
    pub steps: Vec<PlanStep>,
    /// For each operation, the other operations that create the resources that it refers to.
    pub needs: Vec<Vec<usize>>,
}

/// One step of a plan. Operations are identified by their index in the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanStep {
    /// One operation. The operations that it needs are in earlier steps.
    One(usize),
    /// Operations that refer to each other in a cycle, in an order that satisfies `waits`. Their
    /// ids must be chosen before they are performed, and they must succeed or fail together.
    Cycle(Vec<usize>),
    /// A cycle of operations in which none can be first, because each waits for another one.
    UnresolvableCycle(Vec<usize>),
}

impl PlanStep {
    /// Returns the operations of the step in their order.
    #[must_use]
    pub fn operations(&self) -> &[usize] {
        match self {
            PlanStep::One(operation) => std::slice::from_ref(operation),
            PlanStep::Cycle(operations) | PlanStep::UnresolvableCycle(operations) => operations,
        }
    }
}

impl BulkRequest {
    /// Returns the execution order. It is the order of the message, except that an operation is
    /// delayed until the resources that it refers to are created. No operation is moved forward, so
    /// all others find the same state as in the order of the message. Operations on one resource
    /// keep their order.
    ///
    /// `waits` returns whether the resources that an operation refers to must exist before it, as
    /// the members of a group must. The other operations need the ids only, which makes cycles
    /// possible, such as two users who are each other's manager.
    pub fn plan(&self, waits: impl Fn(&BulkOperation) -> bool) -> Plan {
        let edges = self.edges();
        // Each cycle has the position of its last operation.
        let cycles: BTreeMap<usize, Vec<usize>> = strongly_connected_components(&edges.needs)
            .into_iter()
            .filter_map(|cycle| Some((*cycle.last()?, cycle)))
            .collect();
        let mut place_of = HashMap::new();
        for (place, cycle) in &cycles {
            place_of.extend(cycle.iter().map(|operation| (*operation, *place)));
        }
        let before = |place: usize| -> BTreeSet<usize> {
            let cycle = cycles.get(&place).into_iter().flatten();
            let earlier = cycle.flat_map(|one| edges.before(*one));
            let places = earlier.filter_map(|operation| place_of.get(operation).copied());
            places.filter(|other| *other != place).collect()
        };
        let places: Vec<usize> = cycles.keys().copied().collect();
        let order = topological_order(&places, before).unwrap_or(places);
        let waits = |operation: usize| self.operations.get(operation).is_some_and(&waits);
        let steps = order.iter().filter_map(|place| cycles.get(place));
        Plan {
            steps: steps.map(|cycle| edges.step(cycle, waits)).collect(),
            needs: edges.needs,
        }
    }

    fn edges(&self) -> Edges {
        let mut makers = HashMap::new();
        for (index, operation) in self.operations.iter().enumerate() {
            if let (Some(name), Ok(Target::New { .. })) = (&operation.bulk_id, operation.target()) {
                makers.insert(name.as_str(), index);
            }
        }
        let mut edges = Edges::default();
        let mut last = HashMap::new();
        for (index, operation) in self.operations.iter().enumerate() {
            let mut needs = vec![];
            for name in operation.references() {
                match makers.get(name) {
                    Some(maker) if *maker == index => {
                        edges.itself.insert(index);
                    }
                    Some(maker) => needs.push(*maker),
                    // The response to this operation is the error that the reference does not
                    // resolve.
                    None => {}
                }
            }
            needs.sort_unstable();
            edges.needs.push(needs);
            let before = match operation.target() {
                Ok(Target::Resource { endpoint, id }) => last.insert((endpoint, id), index),
                Ok(Target::New { .. }) | Err(_) => None,
            };
            edges.after.push(before.into_iter().collect());
        }
        edges
    }
}

/// The dependencies between operations.
#[derive(Default)]
struct Edges {
    /// For each operation, the operations that create the resources that it refers to.
    needs: Vec<Vec<usize>>,
    /// For each operation, the previous operation on the same resource.
    after: Vec<Vec<usize>>,
    /// The operations that refer to the resource that they create.
    itself: HashSet<usize>,
}

impl Edges {
    /// Returns the operations that must be performed before an operation.
    fn before(&self, operation: usize) -> impl Iterator<Item = &usize> {
        of(&self.needs, operation)
            .iter()
            .chain(of(&self.after, operation))
    }

    /// Returns the step for one operation or for a cycle of operations.
    fn step(&self, cycle: &[usize], waits: impl Fn(usize) -> bool) -> PlanStep {
        let within = |operation: usize| -> BTreeSet<usize> {
            let needs = of(&self.needs, operation).iter().copied();
            let needs = needs.filter(|needed| cycle.binary_search(needed).is_ok());
            needs.filter(|_| waits(operation)).collect()
        };
        let itself = |operation: &usize| self.itself.contains(operation) && waits(*operation);
        match (cycle, topological_order(cycle, within)) {
            (cycle, _) if cycle.iter().any(itself) => PlanStep::UnresolvableCycle(cycle.to_vec()),
            ([one], _) => PlanStep::One(*one),
            (_, Some(order)) => PlanStep::Cycle(order),
            (cycle, None) => PlanStep::UnresolvableCycle(cycle.to_vec()),
        }
    }
}

fn of(edges: &[Vec<usize>], node: usize) -> &[usize] {
    edges.get(node).map_or(&[], Vec::as_slice)
}

/// Returns the strongly connected components of a graph by Kosaraju's algorithm: two depth-first
/// searches, the second one on the reversed graph. It does not recurse, because a path can be as
/// long as the message.
fn strongly_connected_components(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut back = vec![vec![]; edges.len()];
    for (node, needed) in edges.iter().enumerate() {
        for needed in needed {
            if let Some(back) = back.get_mut(*needed) {
                back.push(node);
            }
        }
    }
    let mut finished = vec![];
    let mut seen = HashSet::new();
    for node in 0..edges.len() {
        depth_first(edges, node, &mut seen, &mut finished);
    }
    let mut cycles = vec![];
    let mut seen = HashSet::new();
    for node in finished.into_iter().rev() {
        let mut cycle = vec![];
        depth_first(&back, node, &mut seen, &mut cycle);
        if !cycle.is_empty() {
            cycle.sort_unstable();
            cycles.push(cycle);
        }
    }
    cycles
}

/// Appends the unseen nodes that are reachable from `node` in post-order.
fn depth_first(
    edges: &[Vec<usize>],
    node: usize,
    seen: &mut HashSet<usize>,
    finished: &mut Vec<usize>,
) {
    if !seen.insert(node) {
        return;
    }
    let mut path = vec![(node, of(edges, node).iter())];
    while let Some((node, next)) = path.last_mut() {
        match next.next() {
            Some(next) if seen.insert(*next) => path.push((*next, of(edges, *next).iter())),
            Some(_) => {}
            None => {
                finished.push(*node);
                path.pop();
            }
        }
    }
}

/// Returns the nodes in ascending order, each one after those `before` it, or `None` if they form a
/// cycle.
fn topological_order(
    nodes: &[usize],
    before: impl Fn(usize) -> BTreeSet<usize>,
) -> Option<Vec<usize>> {
    let mut open = HashMap::new();
    let mut then: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut ready = BinaryHeap::new();
    for node in nodes {
        let before = before(*node);
        if before.is_empty() {
            ready.push(Reverse(*node));
        }
        open.insert(*node, before.len());
        for earlier in before {
            then.entry(earlier).or_default().push(*node);
        }
    }
    let mut order = vec![];
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node);
        for later in then.remove(&node).unwrap_or_default() {
            if let Some(open) = open.get_mut(&later) {
                *open -= 1;
                if *open == 0 {
                    ready.push(Reverse(later));
                }
            }
        }
    }
    (order.len() == nodes.len()).then_some(order)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::Error;
    use crate::bulk::{BULK_REQUEST_SCHEMA, MAX_BULK_OPERATIONS};

    fn request(operations: Value) -> BulkRequest {
        let body = json!({"schemas": [BULK_REQUEST_SCHEMA], "Operations": operations});
        parse(body).unwrap()
    }

    fn parse(body: Value) -> Result<BulkRequest, Error> {
        BulkRequest::parse(crate::json::parse(body.to_string().as_bytes())?)
    }

    /// Creates a user with these managers.
    fn user(name: &str, managers: &[&str]) -> Value {
        create("/Users", name, managers)
    }

    /// Creates a group with these members.
    fn group(name: &str, members: &[&str]) -> Value {
        create("/Groups", name, members)
    }

    fn create(path: &str, name: &str, needs: &[&str]) -> Value {
        let needs: Vec<_> = needs
            .iter()
            .map(|name| json!({"value": format!("bulkId:{name}")}))
            .collect();
        json!({"method": "POST", "path": path, "bulkId": name, "data": {"needs": needs}})
    }

    fn groups_wait(operation: &BulkOperation) -> bool {
        operation
            .target()
            .is_ok_and(|target| target.endpoint() == "Groups")
    }

    #[track_caller]
    fn planned(operations: Value, steps: &[PlanStep]) {
        assert_eq!(request(operations).plan(groups_wait).steps, steps);
    }

    use PlanStep::{Cycle, One, UnresolvableCycle};

    /// RFC 7644 §3.7.1, §3.7.2 (B2).
    #[test]
    fn a_referenced_operation_comes_first() {
        planned(
            json!([user("a", &[]), group("g", &["a"])]),
            &[One(0), One(1)],
        );
        planned(
            json!([
                group("g", &["a", "b"]),
                user("a", &["b"]),
                user("b", &[]),
                user("c", &[])
            ]),
            &[One(2), One(1), One(0), One(3)],
        );
        // No operation creates a resource with this name.
        planned(
            json!([group("g", &["x"]), user("a", &[])]),
            &[One(0), One(1)],
        );
    }

    #[test]
    fn an_operation_is_delayed_and_never_advanced() {
        planned(
            json!([
                user("a", &["b"]),
                {"method": "DELETE", "path": "/Users/1"},
                user("b", &[]),
            ]),
            &[One(1), One(2), One(0)],
        );
    }

    /// RFC 7644 §3.7.1, §3.7.2 (B2).
    #[test]
    fn a_cycle_of_users_is_one_step() {
        planned(
            json!([user("a", &["b"]), user("c", &["a"]), user("b", &["a"])]),
            &[Cycle(vec![0, 2]), One(1)],
        );
        // An operation that refers to the cycle comes after all of it.
        planned(
            json!([
                group("g", &["a"]),
                user("a", &["b"]),
                user("b", &["c"]),
                user("c", &["a"])
            ]),
            &[Cycle(vec![1, 2, 3]), One(0)],
        );
        // A user can be its own manager.
        planned(json!([user("a", &["a"])]), &[One(0)]);
    }

    /// RFC 7643 §4.2 (G6).
    #[test]
    fn a_cycle_of_groups_is_unresolvable() {
        planned(
            json!([group("g", &["h"]), group("h", &["g"]), group("i", &["h"])]),
            &[UnresolvableCycle(vec![0, 1]), One(2)],
        );
        planned(json!([group("g", &["g"])]), &[UnresolvableCycle(vec![0])]);
        // The user refers to the group but does not wait for it, so it can be first.
        planned(
            json!([group("g", &["a"]), user("a", &["g"])]),
            &[Cycle(vec![1, 0])],
        );
    }

    #[test]
    fn operations_on_one_resource_stay_in_order() {
        let on = |method: &str, path: &str, needs: &str| json!({"method": method, "path": path, "data": {"value": needs}});
        planned(
            json!([
                on("PATCH", "/Users/1", "bulkId:a"),
                on("PUT", "Users/1/", ""),
                on("PUT", "/Users/2", ""),
                user("a", &[]),
                on("DELETE", "/Users/1?x", ""),
            ]),
            &[One(2), One(3), One(0), One(1), One(4)],
        );
        planned(
            json!([
                on("PATCH", "/Users/bulkId:a", "bulkId:b"),
                on("DELETE", "/Users/bulkId:a", ""),
                user("a", &[]),
                user("b", &["a"]),
            ]),
            &[One(2), One(3), One(0), One(1)],
        );
    }

    #[test]
    fn planning_the_largest_messages_is_fast() {
        let names: Vec<String> = (0..MAX_BULK_OPERATIONS).map(|n| n.to_string()).collect();
        let name = |n: usize| names[n % names.len()].as_str();
        let all = 0..names.len();
        let chain = all.clone().map(|n| {
            user(
                name(n),
                if n + 1 < names.len() {
                    vec![name(n + 1)]
                } else {
                    vec![]
                }
                .as_slice(),
            )
        });
        let cycle = all.clone().map(|n| user(name(n), &[name(n + 1)]));
        let unresolvable = all.clone().map(|n| group(name(n), &[name(n + 1)]));
        // Twice as many references as a body of 1 MiB can contain.
        let dense = |create: fn(&str, &[&str]) -> Value| {
            let operations = all.clone().map(|n| {
                let needs: Vec<&str> = (0..100).map(|other| name(n + 1 + other * 7)).collect();
                create(name(n), &needs)
            });
            operations.collect::<Value>()
        };
        for operations in [
            chain.collect(),
            cycle.collect(),
            unresolvable.collect(),
            dense(user),
            dense(group),
        ] {
            let request = request(operations);
            let begun = Instant::now();
            let plan = request.plan(groups_wait);
            let took = begun.elapsed();
            check(&request, &plan).unwrap();
            assert!(took < Duration::from_secs(2), "{took:?}");
        }
    }

    /// Checks that a plan contains each operation once, after the operations that it needs.
    fn check(request: &BulkRequest, plan: &Plan) -> Result<(), TestCaseError> {
        let mut done = HashSet::new();
        let mut last = HashMap::new();
        for step in &plan.steps {
            let together: HashSet<usize> = step.operations().iter().copied().collect();
            for operation in step.operations() {
                for needed in &plan.needs[*operation] {
                    let there = done.contains(needed);
                    let waits = groups_wait(&request.operations[*operation]);
                    match step {
                        One(_) => prop_assert!(there),
                        Cycle(_) if waits => prop_assert!(there),
                        Cycle(_) | UnresolvableCycle(_) => {
                            prop_assert!(there || together.contains(needed))
                        }
                    }
                }
                prop_assert!(done.insert(*operation));
                if let Ok(Target::Resource { endpoint, id }) =
                    request.operations[*operation].target()
                {
                    let before = last.insert((endpoint, id), *operation);
                    prop_assert!(before.is_none_or(|before| before < *operation));
                }
            }
            if let Cycle(operations) | UnresolvableCycle(operations) = step {
                let refers = operations.iter().any(|one| {
                    plan.needs[*one]
                        .iter()
                        .any(|needed| together.contains(needed))
                });
                prop_assert!(refers || operations.len() == 1);
            }
            if let UnresolvableCycle(operations) = step {
                prop_assert!(
                    operations
                        .iter()
                        .any(|one| groups_wait(&request.operations[*one]))
                );
            }
        }
        prop_assert_eq!(done.len(), request.operations.len());
        Ok(())
    }

    fn operation() -> impl Strategy<Value = (u8, u8, Vec<u8>)> {
        (0..8u8, 0..12u8, prop::collection::vec(0..14u8, 0..3))
    }

    proptest! {
        #[test]
        fn a_plan_contains_each_operation_once_and_in_order(drawn in prop::collection::vec(operation(), 0..12)) {
            let operations = drawn.iter().enumerate().map(|(index, (kind, target, needs))| {
                let needs: Vec<String> = needs.iter().map(u8::to_string).collect();
                let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
                let name = index.to_string();
                let mut operation = match kind {
                    0..3 => user(&name, &needs),
                    3..5 => group(&name, &needs),
                    _ => user(&name, &needs),
                };
                if *kind >= 5 {
                    operation["method"] = json!(["PUT", "PATCH", "DELETE"][usize::from(kind - 5)]);
                    let id = match target % 2 { 0 => format!("{target}"), _ => format!("bulkId:{target}") };
                    operation["path"] = json!(format!("/{}/{id}", if target % 3 == 0 { "Users" } else { "Groups" }));
                }
                operation
            });
            let request = request(operations.collect());
            check(&request, &request.plan(groups_wait))?;
        }

        #[test]
        fn no_message_causes_a_panic(text in r#"\{("(schemas|Operations|failOnErrors|method|path|bulkId|data|x)":(\[\{"(method|path|bulkId|data)":("[ -~&&[^"\\]]{0,12}"|null|1)\}\]|\[\]|null|-?[0-9]),?){0,4}\}"#) {
            if let Ok(body) = crate::json::parse(text.as_bytes())
                && let Ok(request) = BulkRequest::parse(body)
            {
                check(&request, &request.plan(groups_wait))?;
            }
        }

        #[test]
        fn no_operation_causes_a_panic(method in "(POST|put|PATCH|DELETE|.{0,5})", path in ".{0,20}", name in ".{0,5}", data in "(bulkId:)?.{0,5}") {
            let operations = json!([{"method": method, "path": path, "bulkId": name, "data": [data]}]);
            if let Ok(request) = parse(json!({"Operations": operations})) {
                check(&request, &request.plan(groups_wait))?;
                let _ = request.operations[0].resolve(&|name| Err(Error::unresolved(name, "no")));
            }
        }
    }
}
