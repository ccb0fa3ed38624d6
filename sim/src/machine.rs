//! What this machine's memory is doing. Linux tells; elsewhere nothing is known.

/// Bytes that the machine can give without swapping.
pub(crate) fn available_memory() -> Option<u64> {
    field("/proc/meminfo", "MemAvailable:")
}

/// The most bytes of memory that this process has had at one time.
pub(crate) fn peak_memory() -> Option<u64> {
    field("/proc/self/status", "VmHWM:")
}

fn field(path: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
