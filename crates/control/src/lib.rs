//! The edges that wire engines and workload controllers to the API, one module each. Never a second copy of a decision.
