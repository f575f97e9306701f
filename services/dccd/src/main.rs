//! The `dccd` executable.
fn main() {}
