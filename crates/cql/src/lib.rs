//! The store over `CQL`: the only crate that names `scylla`.
