//! The millrace command line and the all-in-one development server.
