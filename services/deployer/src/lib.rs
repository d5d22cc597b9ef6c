//! Millrace deployer.
