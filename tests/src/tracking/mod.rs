//! Backends change while packets come: ring, tracking and the agent's course together,
//! against what must hold whatever happens.
//!
//! A [`World`] is a gateway, on the host or in the kernel, and the agent's side of it
//! without the agent: a course that follows a topology, and writes that lead the tables
//! there. [`scenarios`] are histories made by hand, [`property`] makes random ones, and
//! [`flood`] sends what nobody wants.

pub mod flood;
mod gateway;
pub mod property;
pub mod scenarios;
mod world;

pub use gateway::{Gateway, HostGateway, KernelGateway};
pub use world::{Client, Segment, Service, World};
