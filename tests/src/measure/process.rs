//! What the kernel says about a process. Linux only: it reads `/proc`.

use anyhow::Context;

/// Bytes in one unit of `/proc/<process>/status`.
const UNIT: u64 = 1024;

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Memory {
    /// All that is resident, the pages of the program itself included.
    pub(super) resident: u64,
    /// What it has allocated of that.
    pub(super) anonymous: u64,
}

/// Memory of the process with this id.
pub(super) fn memory_of(process: u32) -> anyhow::Result<Memory> {
    memory(&process.to_string())
}

/// Memory of this process.
pub(super) fn own_memory() -> anyhow::Result<Memory> {
    memory("self")
}

/// The most memory of this process that was resident at any time since [`forget_peak`], in bytes.
pub(super) fn own_peak() -> anyhow::Result<u64> {
    status_of("self", &["VmHWM:"]).map(|fields| fields[0])
}

/// The peak counts from now on.
pub(super) fn forget_peak() -> anyhow::Result<()> {
    const FORGET_PEAK: &str = "5";
    std::fs::write("/proc/self/clear_refs", FORGET_PEAK).context("cannot reset the peak of resident memory")
}

fn memory(process: &str) -> anyhow::Result<Memory> {
    let fields = status_of(process, &["VmRSS:", "RssAnon:"])?;
    Ok(Memory { resident: fields[0], anonymous: fields[1] })
}

/// These fields of a process's status, in bytes.
fn status_of(process: &str, names: &[&str]) -> anyhow::Result<Vec<u64>> {
    let path = format!("/proc/{process}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let field = |name: &&str| {
        let line = status.lines().find_map(|line| line.strip_prefix(*name)).with_context(|| format!("no {name}"))?;
        let number =
            line.trim().trim_end_matches(" kB").parse::<u64>().with_context(|| format!("{name} is no number"))?;
        anyhow::Ok(number * UNIT)
    };
    names.iter().map(field).collect()
}

/// Files and sockets that this process has open.
pub(super) fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Seconds of CPU that this process has used; the kernel counts in hundredths.
pub(super) fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Lets this process, and those that it starts, open as many files as the system allows.
pub(super) fn allow_many_files() -> anyhow::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}

/// Tasks of the tokio runtime that have not ended.
pub(super) fn living_tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}
