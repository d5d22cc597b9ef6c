//! Who may do what on the server, derived from the catalogue. DESIGN section 2.
//!
//! Every identity has an nkey of its own and the least that its work needs. [`auth_conf`] renders that for
//! nats-server; the same table says which streams a service compares at its start.

mod access;
mod grants;
mod identity;
mod keys;
mod render;

pub(crate) use access::Access;
pub use grants::{Grants, grants};
pub use identity::Identity;
pub use keys::{IdentityKey, KeyError, generate_keys, public_key};
pub use render::{auth_conf, auth_template, nats_config};
