//! lingyun
fn main(){}
