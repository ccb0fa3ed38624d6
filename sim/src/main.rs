//! `sim`: runs, checks and draws rings on a virtual clock.

fn main() {}
