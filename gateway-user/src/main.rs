//! lingyun
fn main() {}
