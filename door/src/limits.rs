//! What a program may send, and have at once.

/// Bytes of one line at most, either way, without its end. A message of 8 MiB fits, with its bytes in base64.
pub const MAX_LINE: usize = 16 << 20;

/// How deep arrays and maps of one value may lie in each other.
pub const MAX_DEPTH: usize = 100;

/// Requests of one program under way, watches among them, at most.
pub const MAX_REQUESTS: usize = 256;

/// Calls to one program under way, at most.
pub const MAX_CALLS: usize = 1024;

/// Results of one call to a program that wait to be taken, at most.
pub const WINDOW: usize = 16;

/// Bytes of such results of all calls to one program, at most, as they were written.
pub const MAX_UNTAKEN: usize = 32 << 20;

/// Functions of others that one program holds, at most.
pub const MAX_HELD: usize = 16_384;

/// Functions of one program that others hold, at most: each time that it writes one counts until it is released.
pub const MAX_MENTIONS: usize = 16_384;

/// Lines that are no message, until the program is cut off.
pub const MAX_MALFORMED: usize = 100;

/// Services of one program, and scopes that it handles, at most, each.
pub const MAX_SERVICES: usize = 64;

/// Channels of one program at most.
pub const MAX_CHANNELS: usize = 64;

/// Bytes of a program's name at most.
pub const MAX_NAME: usize = 128;

/// The largest number that a program may use for a request or a function: larger ones are not exact in JavaScript.
pub const MAX_NUMBER: u64 = (1 << 53) - 1;
