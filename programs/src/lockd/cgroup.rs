//! The memory limit of the control group that this process runs in, of version 1 or 2.
//!
//! `/proc/self/cgroup` names the group, `/proc/self/mountinfo` where the tree of groups is mounted
//! and which part of it is visible there. The limit is the smallest of the group's and of those
//! above it: a container is often limited from above. What cannot be read limits nothing.

use std::fs;
use std::path::{Path, PathBuf};

/// From here on a limit is none: version 1 says so with the largest number of whole pages.
const UNLIMITED: u64 = 1 << 60;

/// A tree of control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tree {
    /// Where it is mounted.
    mounted: PathBuf,
    /// This process's group, below the mount.
    group: PathBuf,
    /// The files that hold limits.
    files: &'static [&'static str],
}

/// How much memory this process may use, in bytes, as its control group says.
pub(super) fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    limit(&groups, &mounts, |file| fs::read_to_string(file).ok())
}

fn limit(groups: &str, mounts: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let trees = trees(groups, mounts);
    let files = trees.iter().flat_map(|tree| {
        let above = tree.group.ancestors();
        above.flat_map(|group| {
            let directory = tree.mounted.join(group);
            tree.files.iter().map(move |file| directory.join(file))
        })
    });
    let limits = files.filter_map(|file| parse(&read(&file)?));
    limits.min()
}

/// `max` is no limit.
fn parse(text: &str) -> Option<u64> {
    let limit = text.trim().parse().ok()?;
    (limit < UNLIMITED).then_some(limit)
}

/// The trees that may limit memory: that of version 2, and the one of version 1 that has the
/// controller.
fn trees(groups: &str, mounts: &str) -> Vec<Tree> {
    let mounts = mounts.lines().filter_map(mount);
    mounts
        .filter_map(|mount| {
            let path = groups.lines().find_map(|line| mount.group(line))?;
            Some(Tree {
                group: below(Path::new(path), Path::new(&mount.root)),
                mounted: mount.mounted.into(),
                files: mount.version.files(),
            })
        })
        .collect()
}

/// The path of a group below what is mounted; the mount itself where it is not below, as in a
/// container that sees the host's path and mounts its own group.
fn below(path: &Path, root: &Path) -> PathBuf {
    let below = path.strip_prefix(root).unwrap_or_else(|_| Path::new(""));
    below.iter().filter(|part| *part != "..").collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    const fn files(self) -> &'static [&'static str] {
        match self {
            Self::One => &["memory.limit_in_bytes"],
            // Above `high` a process is slowed down until it hardly runs.
            Self::Two => &["memory.max", "memory.high"],
        }
    }
}

struct Mount {
    root: String,
    mounted: String,
    version: Version,
}

impl Mount {
    /// The path of the group that a line of `/proc/self/cgroup` names, if it is of this tree.
    fn group<'a>(&self, line: &'a str) -> Option<&'a str> {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_ours = match self.version {
            Version::One => controllers.split(',').any(|name| name == "memory"),
            Version::Two => number == "0" && controllers.is_empty(),
        };
        is_ours.then_some(path)
    }
}

/// A line of `/proc/self/mountinfo`, if it is of a tree that can limit memory.
fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ').skip(3);
    let (root, mounted) = (fields.next()?, fields.next()?);
    let mut fields = after.split(' ');
    let (kind, options) = (fields.next()?, fields.nth(1)?);
    let version = match kind {
        "cgroup2" => Version::Two,
        "cgroup" if options.split(',').any(|option| option == "memory") => Version::One,
        _ => return None,
    };
    Some(Mount {
        root: unescape(root),
        mounted: unescape(mounted),
        version,
    })
}

/// Blanks and backslashes are written as octal numbers.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const VERSION_1: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices\n";
    const VERSION_2: &str =
        "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    /// The limit where these files are.
    fn limited(groups: &str, mounts: &str, files: &[(&str, &str)]) -> Option<u64> {
        let files: BTreeMap<&Path, &str> = files
            .iter()
            .map(|(path, text)| (Path::new(*path), *text))
            .collect();
        limit(groups, mounts, |file| {
            files.get(file).map(|text| (*text).to_owned())
        })
    }

    #[test]
    fn the_limit_of_a_group_of_version_1_is_found() {
        let groups = "5:devices:/\n4:memory:/system.slice/lockd.service\n0::/\n";
        let file = "/sys/fs/cgroup/memory/system.slice/lockd.service/memory.limit_in_bytes";
        let limit = |text| limited(groups, VERSION_1, &[(file, text)]);
        assert_eq!(limit("67108864\n"), Some(67_108_864));
        assert_eq!(limit("9223372036854771712\n"), None);
        assert_eq!(limit("soon\n"), None);
        assert_eq!(limited(groups, VERSION_1, &[]), None);
    }

    #[test]
    fn the_limit_of_a_group_of_version_2_is_found() {
        let groups = "0::/system.slice/lockd.service\n";
        let directory = "/sys/fs/cgroup/system.slice/lockd.service";
        let (max, high) = (
            format!("{directory}/memory.max"),
            format!("{directory}/memory.high"),
        );
        let limit = |a, b| limited(groups, VERSION_2, &[(&max, a), (&high, b)]);
        assert_eq!(limit("67108864\n", "max\n"), Some(67_108_864));
        assert_eq!(limit("67108864\n", "50331648\n"), Some(50_331_648));
        assert_eq!(limit("max\n", "max\n"), None);
    }

    #[test]
    fn the_smallest_limit_on_the_way_up_counts() {
        let groups = "0::/pods/one/lockd\n";
        let files = [
            ("/sys/fs/cgroup/pods/one/lockd/memory.max", "max"),
            ("/sys/fs/cgroup/pods/one/memory.max", "2000"),
            ("/sys/fs/cgroup/pods/memory.max", "3000"),
        ];
        assert_eq!(limited(groups, VERSION_2, &files), Some(2_000));
    }

    #[test]
    fn a_container_that_sees_its_own_group_at_the_mount_is_limited_by_it() {
        let file = [("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1000")];
        let mounts = "35 31 0:32 /docker/1f2e /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        for group in [
            "4:memory:/docker/1f2e\n",
            "4:memory:/\n",
            "4:memory:/../..\n",
        ] {
            assert_eq!(limited(group, mounts, &file), Some(1_000), "{group}");
        }
        let file = [("/sys/fs/cgroup/memory.max", "1000")];
        for group in ["0::/\n", "0::/../../pod\n"] {
            let mounts = VERSION_2;
            let found = limited(group, mounts, &file);
            assert_eq!(found, Some(1_000), "{group}");
        }
    }

    #[test]
    fn a_machine_with_both_versions_is_limited_by_the_one_that_has_the_controller() {
        let both = format!(
            "{VERSION_1}41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
        );
        let groups = "4:cpu,memory:/a\n0::/b\n";
        let file = [("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000")];
        assert_eq!(limited(groups, &both, &file), Some(1_000));
    }

    #[test]
    fn what_is_no_such_file_limits_nothing() {
        for text in ["", "\n\n", "x", "4:memory", " - ", "1 2 3 4 5 - cgroup2"] {
            assert_eq!(limited(text, VERSION_2, &[]), None, "{text}");
            assert_eq!(limited("0::/\n", text, &[]), None, "{text}");
        }
    }

    #[test]
    fn a_mount_with_a_blank_in_its_path_is_found() {
        let mounts = "29 23 0:26 / /my\\040groups rw - cgroup2 cgroup2 rw\n";
        let file = [("/my groups/a/memory.max", "1000")];
        assert_eq!(limited("0::/a\n", mounts, &file), Some(1_000));
    }
}
