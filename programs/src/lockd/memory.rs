//! How much memory a server may use, as its command line says.

use bytesize::ByteSize;

use lockservice::config::MIN_MEMORY;

/// What `--max-memory` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MaxMemory {
    /// As much as the control group has.
    Group,
    /// As much as there is.
    Unlimited,
    /// A number of bytes.
    Bytes(u64),
}

/// Why a text is no [`MaxMemory`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MaxMemoryError {
    #[error("write a size such as 512MiB, or auto, or none")]
    Malformed,
    #[error("it must be at least {}", ByteSize::b(MIN_MEMORY))]
    TooLittle,
}

impl MaxMemory {
    /// How many bytes that are, if the control group has `group`.
    pub(super) const fn bytes(self, group: Option<u64>) -> Option<u64> {
        match self {
            Self::Group => group,
            Self::Unlimited => None,
            Self::Bytes(bytes) => Some(bytes),
        }
    }
}

/// Parses `512MiB`, `auto` and `none`.
pub(super) fn max_memory(text: &str) -> Result<MaxMemory, MaxMemoryError> {
    match text {
        "auto" => Ok(MaxMemory::Group),
        "none" => Ok(MaxMemory::Unlimited),
        size => match size.parse::<ByteSize>() {
            Err(_) => Err(MaxMemoryError::Malformed),
            Ok(size) if size.as_u64() < MIN_MEMORY => Err(MaxMemoryError::TooLittle),
            Ok(size) => Ok(MaxMemory::Bytes(size.as_u64())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_written_as_people_write_it() {
        let mebibyte = 1 << 20;
        for (text, bytes) in [
            ("64MiB", 64 * mebibyte),
            ("64 MiB", 64 * mebibyte),
            ("2GiB", 2_048 * mebibyte),
            ("1GB", 1_000_000_000),
            ("100000000", 100_000_000),
        ] {
            assert_eq!(max_memory(text), Ok(MaxMemory::Bytes(bytes)), "{text}");
        }
        assert_eq!(max_memory("auto"), Ok(MaxMemory::Group));
        assert_eq!(max_memory("none"), Ok(MaxMemory::Unlimited));
        for text in ["", "much", "-1", "64MiBs"] {
            assert_eq!(max_memory(text), Err(MaxMemoryError::Malformed), "{text}");
        }
        assert_eq!(max_memory("23MiB"), Err(MaxMemoryError::TooLittle));
    }

    #[test]
    fn what_is_said_wins_over_the_control_group() {
        let group = Some(7);
        assert_eq!(MaxMemory::Group.bytes(group), group);
        assert_eq!(MaxMemory::Unlimited.bytes(group), None);
        assert_eq!(MaxMemory::Bytes(9).bytes(group), Some(9));
    }
}
