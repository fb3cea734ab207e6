//! What a process uses, as the kernel tells it.

use std::fs;

/// How much processor time all threads of a process have used, in microseconds.
pub(crate) fn cpu_micros(process: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let nanos = tasks.map(|task| {
        let path = task.expect("a thread").path().join("schedstat");
        // A thread may end meanwhile.
        let stat = fs::read_to_string(path).unwrap_or_default();
        let used = stat.split(' ').next().unwrap_or_default();
        used.parse().unwrap_or(0.0)
    });
    nanos.sum::<f64>() / 1e3
}

/// How much memory a process has, in bytes.
pub(crate) fn memory_bytes(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("a line for the memory");
    let kib = line.split_whitespace().next().expect("a figure");
    kib.parse::<f64>().expect("a number") * 1024.0
}
