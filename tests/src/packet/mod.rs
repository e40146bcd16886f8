//! Frames for tests: built by a sentence, checked and compared field by field.
//!
//! Nothing here shares code with the packet path: checksums are summed anew over
//! the whole header and payload, and headers are written byte by byte.

mod diff;
mod frame;
mod ipv6;
mod layers;
mod sum;
mod verify;
pub(crate) mod walk;

pub use diff::{describe, diff};
pub use frame::{Frame, eth};
pub use layers::{Mac, protocol};
pub use sum::internet_checksum;
pub use verify::{assert_checksums, seal, wrong_checksums};
