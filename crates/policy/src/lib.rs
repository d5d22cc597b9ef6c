//! Rules about texts that were written by others, and about what may run. Nothing here touches the world.
//!
//! Read in this order: [`secrets`] (credentials in a text), [`hidden_text`] (what a person who reads a text does not
//! see), [`exec`] (which commands may run).

pub mod exec;
pub mod hidden_text;
pub mod secrets;
