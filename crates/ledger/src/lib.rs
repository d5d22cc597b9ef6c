//! Millrace ledger.
