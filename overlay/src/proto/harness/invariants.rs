//! What must hold of the ring: Zave, "Reasoning about identifier spaces: how to make Chord correct" (IEEE TSE 2017), section 4.

use crate::id::Id;
use crate::proto::Proto;

/// Always, under any fault that leaves a member in every successor list: there is exactly one ring, it is ordered, and every
/// member leads to it.
