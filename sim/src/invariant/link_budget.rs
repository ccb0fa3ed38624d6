//! No node ever holds more links, open or being set up, than it may.
//!
//! A promise of Atoll's own (`docs/architecture.md`, "Links"): a browser has few connections, and both ends of a link keep to their
//! budgets at every step.

use atoll::proto::Proto;

use super::Broken;

/// The name.
pub const NAME: &str = "link budget";

/// Checks one node.
pub fn check(node: &Proto) -> Result<(), Broken> {
    let (used, budget) = (node.links_in_use(), node.config().max_links);
    if used <= budget {
        return Ok(());
    }
    Err(Broken::new(NAME, format!("{} holds {used} links of {budget}", node.id())))
}
