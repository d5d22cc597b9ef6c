//! Millrace failure-analyzer.
