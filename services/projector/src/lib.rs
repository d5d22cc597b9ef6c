//! Millrace projector.
