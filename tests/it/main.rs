//! The whole product, driven as its users drive it: requests through the routes of `template.yaml`, events from the bus.

mod bulk;
mod cost;
mod edge;
mod events;
mod group_cost;
mod group_races;
mod groups;
mod lambda;
mod limits;
mod program;
mod publisher;
mod races;
mod runner;
mod schemas;
mod simulate;
mod tokens;
mod transcript;
mod walls;
mod world;
