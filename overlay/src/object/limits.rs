//! How large a message may be.

/// Bytes of one encoded message, at most: the arguments of a call, a result, an item of many, a chunk. What is larger goes as
/// a stream of bytes ([`super::Reply::bytes`]), which has no limit.
pub const MAX_MESSAGE: usize = 8 << 20;

/// Values in one message, at most: every element, key and entry counts.
pub const MAX_VALUES: usize = 1 << 18;

/// How deep arrays and maps may lie in each other.
pub const MAX_DEPTH: usize = 128;

/// Functions in one message, at most.
pub const MAX_FUNCTIONS: usize = 256;

/// Bytes of the name of a service, a scope, a member, a parameter, at most.
pub const MAX_NAME: usize = 128;

/// Bytes of a path such as `deep.x`, at most.
pub const MAX_PATH: usize = 1024;

/// Bytes of the message of a failure on the wire, at most: a longer one is cut.
pub const MAX_FAILURE_TEXT: usize = 4096;
