//! One function over many things, on as many cores as there are.
//!
//! Knows: threads that live as long as the call. Must not know: what is done.
//! Invariant: what comes out is what one thread would have made, in the same order.

use std::sync::{Mutex, OnceLock};

/// What is worth a thread, in bytes of text: some milliseconds of reading.
pub const BLOCK: usize = 64 << 10;

/// `made` of each, in order. What is smaller than [`BLOCK`] in all, by `size`, is made by the caller's own thread.
pub fn map<T: Send, R: Send>(
    items: Vec<T>,
    size: impl Fn(&T) -> usize,
    made: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let is_small = items.len() < 2 || items.iter().map(size).sum::<usize>() < BLOCK;
    let cores = if is_small { 1 } else { cores().min(items.len()) };
    if cores < 2 {
        return items.into_iter().map(made).collect();
    }
    let waiting = Mutex::new(items.into_iter().enumerate());
    let next = || waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
    let work = || {
        let mut done = Vec::new();
        while let Some((place, item)) = next() {
            done.push((place, made(item)));
        }
        done
    };
    let mut all = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..cores).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for helper in helpers {
            match helper.join() {
                Ok(done) => all.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_unstable_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, made)| made).collect()
}

/// Asked once: the answer is read from files of the kernel, which takes longer than reading a small document.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, map};

    #[test]
    fn what_many_threads_make_is_in_order() {
        let wanted: Vec<usize> = (0..1000).map(|number| number * 2).collect();
        for size in [0, BLOCK] {
            assert_eq!(map((0..1000).collect(), |_| size, |number: usize| number * 2), wanted);
        }
        assert!(map(Vec::<usize>::new(), |_| BLOCK, |number| number).is_empty());
    }
}
