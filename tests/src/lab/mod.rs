//! The lab: a site of network namespaces and real components, built from a
//! topology file. docs/lab.md shows it.

mod bird;
mod bridge;
mod check;
mod config;
mod ethtool;
mod gateway;
mod names;
mod network;
mod ns;
mod openvswitch;
mod plan;
mod postgres;
mod process;
mod progress;
mod ready;
mod running;
mod services;
mod site;
mod stand;
pub mod state;
mod tool;
mod up;

pub use config::Kind;
pub(crate) use ethtool::{Offload, set as set_offload};
pub use names::RunId;
pub use plan::Device;
pub use postgres::PORT as POSTGRES_PORT;
pub use process::{Process, exit_code};
pub use progress::{Progress, Timing};
pub use running::{Lab, Options, become_inside};
pub use site::{NodeKind, Site};
pub use stand::Stand;
