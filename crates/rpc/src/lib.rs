//! Millrace rpc.
