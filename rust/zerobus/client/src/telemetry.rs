//! What is counted, measured and traced.
