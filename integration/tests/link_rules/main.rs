//! Rules of links: what a component is refused by its host, over every road.

mod calls;
mod commands;
mod denials;
mod records;
mod requests;
mod scene;
mod stores;
