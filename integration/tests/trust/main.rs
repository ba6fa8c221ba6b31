//! What may run in a lattice, and what may be called: tried from where an attacker stands.

mod claims;
mod policy;
mod rebinding;
mod strict;
mod swapped;
