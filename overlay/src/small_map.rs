//! Small maps: a sorted vector each.
//!
//! A B-tree is faster where there are many thousands of entries, and every kind of entries costs a page in a browser some five kilobytes
//! of code. What a node keeps of its links, sessions and services is far less.

pub(crate) type SmallMap<K, V> = litemap::LiteMap<K, V>;
