//! Millrace query.
