//! What NATS keeps apart: the users of provider processes, and the accounts of lattices. Everything
//! is tried with real credentials from where an attacker stands, and refused by the server; what is
//! allowed works, also while credentials are replaced.

#![expect(clippy::disallowed_methods, reason = "an attacker owns no subject")]

mod attacker;
mod callers;
mod links;
mod many_links;
mod policy;
mod rotation;
mod scene;
mod signing_key;
mod tenants;
