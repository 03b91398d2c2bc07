//! SEA.
