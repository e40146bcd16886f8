//! The order service: what the phone's order is for.
//!
//! Small, but it behaves as a real one must: an order is idempotent by its key, and
//! stock is never sold twice. [`api`] speaks HTTP, [`store`] keeps the books in
//! PostgreSQL over connections from [`pool`], and [`tls`] makes the lab's
//! certificates and wraps the listener.

pub mod api;
pub mod pool;
pub mod store;
pub mod tls;
