//! Millrace deployer.

pub mod adapters;
pub mod ports;
