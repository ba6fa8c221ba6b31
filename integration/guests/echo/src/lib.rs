//! Test guest that imports nothing and gives back what it gets: the least that a call can meet.
//!
//! It has no standard library, as that would bring a dozen imports with it, and an allocator that
//! stays within the memory the instance starts with, as growing costs two changes of protection.
#![no_std]

extern crate alloc;

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({ world: "small", path: "wit" });
}

use alloc::alloc::{alloc, realloc};
use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

use bindings::exports::test::echo::echo::Guest;

/// How much one call may allocate, in bytes.
const ROOM: usize = 256 * 1024;

/// Gives out its room once, from front to back: an instance lives for one call.
struct Once {
    room: UnsafeCell<[u8; ROOM]>,
    used: AtomicUsize,
}

// SAFETY: a guest has one thread.
unsafe impl Sync for Once {}

// SAFETY: no two pieces overlap, as `used` only grows, and each lies within the room.
unsafe impl GlobalAlloc for Once {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let room = self.room.get().cast::<u8>();
        let start = room as usize + self.used.load(Ordering::Relaxed);
        let skipped = start.wrapping_neg() & (layout.align() - 1);
        let from = self.used.load(Ordering::Relaxed) + skipped;
        if layout.size() > ROOM.saturating_sub(from) {
            return ptr::null_mut();
        }
        self.used.store(from + layout.size(), Ordering::Relaxed);
        // SAFETY: `from` is at most `ROOM`.
        unsafe { room.add(from) }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: Once = Once {
    room: UnsafeCell::new([0; ROOM]),
    used: AtomicUsize::new(0),
};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

/// How the host asks for memory for parameters. Guests with a C library take it from there.
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(
    old: *mut u8,
    old_len: usize,
    align: usize,
    len: usize,
) -> *mut u8 {
    // SAFETY: the host keeps to the canonical ABI: `align` is a power of two, and `old` is null
    // with length 0 or comes from here with the same length and alignment.
    let got = unsafe {
        if old_len == 0 {
            alloc(Layout::from_size_align_unchecked(len, align))
        } else {
            realloc(old, Layout::from_size_align_unchecked(old_len, align), len)
        }
    };
    if got.is_null() {
        core::arch::wasm32::unreachable()
    }
    got
}

struct Echo;

impl Guest for Echo {
    fn bytes(value: Vec<u8>) -> Vec<u8> {
        value
    }
}

bindings::export!(Echo with_types_in bindings);
