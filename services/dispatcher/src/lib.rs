//! Millrace dispatcher.
