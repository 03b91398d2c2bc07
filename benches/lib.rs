//! Benchmarks of the workspace; see `README.md` beside this file.
