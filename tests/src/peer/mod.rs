//! A small traffic partner for tests: [`serve`] answers in ways that a client can
//! verify, [`connect`] keeps many long-lived connections and notices every hitch.

pub mod connect;
pub mod serve;
