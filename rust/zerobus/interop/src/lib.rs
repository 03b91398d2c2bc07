//! Nothing but its tests: the official client, which must not notice that it speaks to the look-alike server.
