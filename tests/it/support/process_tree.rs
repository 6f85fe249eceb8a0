//! What a process and its descendants use, read from `/proc`.

use std::collections::HashMap;
use std::fs;

/// A process and all its descendants at one moment.
pub struct ProcessTree {
    pub processes: Vec<u32>,
    /// Resident memory of all of them.
    pub resident_kib: u64,
    /// Time on the processor, user and system, of all of them, in clock ticks.
    pub cpu_ticks: u64,
}

/// Reads the tree under a process. A process that ends meanwhile counts as nothing.
pub fn process_tree(root: u32) -> ProcessTree {
    let mut parents = HashMap::new();
    let mut ticks = HashMap::new();
    for entry in fs::read_dir("/proc").expect("a Linux host").flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|id| id.parse().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else {
            continue;
        };
        // The name stands in parentheses and may hold anything: fields count from behind it.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map_or("", |(_, fields)| fields)
            .split_ascii_whitespace()
            .collect();
        let number = |place: usize| -> u64 {
            fields
                .get(place)
                .and_then(|field| field.parse().ok())
                .unwrap_or(0)
        };
        parents.insert(id, number(1) as u32);
        ticks.insert(id, number(11) + number(12));
    }
    let mut processes = vec![root];
    let mut next = 0;
    while let Some(&parent) = processes.get(next) {
        next += 1;
        let children = parents.iter().filter(|(_, of)| **of == parent);
        processes.extend(children.map(|(&id, _): (&u32, _)| id));
    }
    let resident_kib = processes
        .iter()
        .filter_map(|id| fs::read_to_string(format!("/proc/{id}/status")).ok())
        .filter_map(|status| {
            let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
            line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .sum();
    let cpu_ticks = processes.iter().filter_map(|id| ticks.get(id)).sum();
    ProcessTree {
        processes,
        resident_kib,
        cpu_ticks,
    }
}
