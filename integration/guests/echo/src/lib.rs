//! Test guest that imports nothing and gives back what it gets: the least that a call can meet.
//!
//! It has no standard library, as that would bring a dozen imports with it.
#![no_std]

extern crate alloc;

/// Bindings of this guest's world.
mod bindings {
    wit_bindgen::generate!({ world: "small", path: "wit" });
}

use alloc::alloc::{alloc, realloc};
use alloc::vec::Vec;
use core::alloc::Layout;

use bindings::exports::test::echo::echo::Guest;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

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
