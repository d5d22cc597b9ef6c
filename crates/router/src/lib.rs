//! Millrace router.
