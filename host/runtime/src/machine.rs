//! What the machine gives: how much memory this process may have.

use std::fs;
use std::path::Path;

/// What is assumed where neither the machine nor a control group tells: a small edge machine.
const UNKNOWN: u64 = 512 << 20;

/// The memory that this process may have, in bytes: that of the machine, or the least limit of
/// the control groups it is in (version 1 or 2), those of a container included.
#[must_use]
pub fn memory_bytes() -> u64 {
    read_memory(Path::new("/proc"), Path::new("/sys/fs/cgroup"))
}

fn read_memory(proc: &Path, groups: &Path) -> u64 {
    let installed = text(&proc.join("meminfo")).and_then(|info| installed(&info));
    let membership = text(&proc.join("self/cgroup")).unwrap_or_default();
    let limits = membership
        .lines()
        .filter_map(|line| limit_of_group(line, groups));
    installed.into_iter().chain(limits).min().unwrap_or(UNKNOWN)
}

/// `MemTotal` of `/proc/meminfo`, which counts in KiB.
fn installed(info: &str) -> Option<u64> {
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The least limit of one group and of those around it. `line` is one of `/proc/self/cgroup`:
/// number, controllers and path.
fn limit_of_group(line: &str, groups: &Path) -> Option<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (mount, file) = if controllers.is_empty() {
        (groups.to_owned(), "memory.max")
    } else if controllers.split(',').any(|name| name == "memory") {
        (groups.join("memory"), "memory.limit_in_bytes")
    } else {
        return None;
    };
    // `max` stands for none in version 2, and is no number.
    let limit = |group: &Path| text(&mount.join(group).join(file))?.trim().parse().ok();
    Path::new(path.trim_start_matches('/'))
        .ancestors()
        .filter_map(limit)
        .min()
}

fn text(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> u64 {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        read_memory(&root.path().join("proc"), &root.path().join("groups"))
    }

    const TWO_GIB: (&str, &str) = ("proc/meminfo", "MemTotal:  2097152 kB\nMemFree: 1 kB\n");

    #[test]
    fn without_groups_it_is_the_machines_memory() {
        assert_eq!(machine(&[TWO_GIB]), 2 << 30);
        assert_eq!(machine(&[]), UNKNOWN);
    }

    #[test]
    fn the_least_limit_of_all_groups_around_counts() {
        let within = [
            TWO_GIB,
            ("proc/self/cgroup", "0::/tenant/host.service\n"),
            ("groups/tenant/memory.max", "268435456\n"),
            ("groups/tenant/host.service/memory.max", "max\n"),
        ];
        assert_eq!(machine(&within), 256 << 20);
    }

    #[test]
    fn a_limit_above_the_machines_memory_is_none() {
        let unlimited = [
            TWO_GIB,
            ("proc/self/cgroup", "5:cpu:/\n4:memory,hugetlb:/\n"),
            (
                "groups/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ];
        assert_eq!(machine(&unlimited), 2 << 30);
    }

    #[test]
    fn a_container_of_the_first_version_is_seen() {
        let container = [
            TWO_GIB,
            ("proc/self/cgroup", "4:memory:/\n"),
            ("groups/memory/memory.limit_in_bytes", "134217728\n"),
        ];
        assert_eq!(machine(&container), 128 << 20);
    }
}
