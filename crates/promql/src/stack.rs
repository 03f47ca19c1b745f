//! Room on the stack for work that recurses over a tall tree.
//!
//! The parser bounds how tall a tree is, but threads' stacks are small where servers run queries (2 MiB in tokio). Trees
//! of ordinary height are worked on where the caller is; taller ones get a thread with a stack that fits them.

use std::io;
use std::panic::resume_unwind;
use std::thread::{Builder, scope};

/// Up to this height every stack has room.
const ORDINARY: usize = 32;

/// What one level may take. Pages of the stack that are not reached take no memory.
const LEVEL_BYTES: usize = 32 << 10;

/// Does `work`, which recurses `height` levels deep at most.
///
/// # Errors
/// When the operating system refuses a thread.
pub(crate) fn with_room<T: Send>(height: usize, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    if height <= ORDINARY {
        return Ok(work());
    }
    scope(|scope| {
        let thread = Builder::new().name("tall-query".to_owned()).stack_size(height * LEVEL_BYTES);
        Ok(thread.spawn_scoped(scope, work)?.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tall_work_gets_its_room() {
        fn descend(levels: usize) -> usize {
            let frame = std::hint::black_box([levels; 512]);
            if levels == 0 { 0 } else { descend(levels - 1) + 1 + (frame[0] - levels) }
        }
        for height in [1, ORDINARY, 5000] {
            assert_eq!(with_room(height, || descend(height)).unwrap(), height);
        }
    }
}
