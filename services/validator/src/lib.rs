//! Millrace validator.
