//! Set-up, build, run, test and bench of Lingyun.
fn main() {}
