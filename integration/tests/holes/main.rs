//! Holes known from lattices of this kind, each tried the way a user or a hostile peer falls into
//! it. `docs/known-holes.md` lists them together with the tests of other crates.

mod abandoned;
mod bombs;
mod calls;
mod components;
mod hosts;
mod links;
mod support;
mod table;
mod truncated;
