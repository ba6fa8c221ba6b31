//! What every key-value provider has to do, as tests that run over a real lattice.
//!
//! A provider's tests name a function that starts it, and [`tests!`](crate::tests) makes a test of
//! every case:
//!
//! ```ignore
//! async fn start() -> Setup { /* … */ }
//! lattice_keyvalue_suite::tests!(start);
//! ```
//!
//! A [`Lattice`] runs the provider and stands in for its host; a [`Component`] stands in for a
//! component that is linked to it, and calls it through bindings made from the WIT package.

#![allow(
    clippy::error_impl_error,
    reason = "bindings name their types as the WIT package does"
)]

pub mod cases;
mod component;
mod lattice;
pub mod links;
pub mod versions;
mod watching;

#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::missing_errors_doc,
    clippy::wildcard_imports,
    reason = "generated from the WIT package"
)]
pub mod bindings {
    //! The component's side of the packages: it calls the store and is told of changes. It is the
    //! mirror of what the provider kit generates, whose types of the same names are others.
    //! `watcher` is there on both sides, for a provider that is told and tells on.

    wit_bindgen_wrpc::generate!({
        inline: "
            package lattice:keyvalue-suite;
            world component {
                import wrpc:keyvalue/store@0.2.0-draft;
                import wrpc:keyvalue/atomics@0.2.0-draft;
                import wrpc:keyvalue/batch@0.2.0-draft;
                import wrpc:keyvalue/watcher@0.2.0-draft;
                import lattice:keyvalue/store@0.1.0;
                import lattice:keyvalue/atomics@0.1.0;
                export wrpc:keyvalue/watcher@0.2.0-draft;
            }
        ",
        path: [
            "../../interfaces/wit/wrpc-keyvalue-0.2.0-draft",
            "../../interfaces/wit/lattice-keyvalue-0.1.0",
        ],
        world: "lattice:keyvalue-suite/component",
        generate_all,
    });
}

pub use component::Component;
pub use lattice::{Lattice, PATIENCE};
pub use watching::{Told, Watching, watches_what_it_requires};

/// What a case needs.
#[derive(Debug)]
pub struct Setup {
    /// The component, whose link lets it create buckets.
    pub component: Component,
    /// Whether paging lists a key only once while others write.
    pub lists_once: bool,
    /// Whether each key may have a time of its own after which it goes.
    pub forgets_keys: bool,
    /// What has to live as long as the test.
    pub lattice: Lattice,
}

/// Makes a test of each case; `$start` is an `async fn` that returns a [`Setup`] or
/// something that dereferences to one.
#[macro_export]
macro_rules! tests {
    ($start:path) => {
        $crate::tests! { $start => cases:
            what_is_set_is_there
            an_empty_value_is_not_absent
            deleting_what_is_absent_is_fine
            large_values_come_back
            any_text_is_a_key
            buckets_do_not_mix
            paging_finds_every_key_while_others_write
            an_empty_bucket_lists_nothing
            increments_count_from_zero
            increments_at_the_same_time_all_count
            what_is_no_number_is_not_incremented
            batches_keep_their_order
            empty_batches_do_nothing
            a_batch_whose_values_are_too_many_is_refused
            a_missing_link_is_named
        }
        $crate::tests! { $start => versions:
            a_stale_swap_gives_what_is_there
            a_swap_of_what_was_read_is_made
            an_absent_key_is_swapped_in_once
            swaps_at_the_same_time_lose_nothing
            numbers_go_below_zero
            both_drafts_count_the_same_numbers
            cursors_are_texts_too
            a_key_goes_after_its_time
        }
    };
    ($start:path => $module:ident: $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let setup = $start().await;
                $crate::$module::$case(&setup).await;
            }
        )*
    };
}
