//! What only a real server can show: permissions, its own configuration, crashes.

mod bootstrap;
mod crash;
mod outage;
mod permissions;
mod preflight;
mod secured;
