//! seakernel
