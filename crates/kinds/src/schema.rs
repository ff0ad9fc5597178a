//! The shape of every kind, read once from the typed schemas: which fields there are, of which type, merged how.
