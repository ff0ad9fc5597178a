//! One host: desired to actual, level-triggered; adopts what runs after a restart. Never places.

pub mod worker;
