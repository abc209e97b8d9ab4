//! The tests of Rollcall as a whole: `it/` drives the product as its users do, `benches/` measures it, and
//! [`simulation`] runs it on a network and an AWS that keep no order.

pub mod simulation;
