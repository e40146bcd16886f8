//! The commands of `lingyun`.

pub mod check;
pub mod schema;
