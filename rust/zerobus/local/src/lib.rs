//! A look-alike of the Zerobus service on loopback: gRPC, tokens, a store to look into, scripted faults.
