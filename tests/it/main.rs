//! The whole product, driven as its users drive it: requests through the routes of `template.yaml`, events from the bus.

mod admin;
mod bulk;
mod cost;
mod deletion;
mod directories;
mod edge;
mod event_log;
mod events;
mod group_cost;
mod group_races;
mod groups;
mod lambda;
mod limits;
mod program;
mod publisher;
mod races;
mod reading;
mod runner;
mod schemas;
mod simulate;
mod tokens;
mod transcript;
mod upgrade;
mod walls;
mod webhooks;
mod world;
