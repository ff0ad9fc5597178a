//! Load generation, open-loop and recorded honestly. Never coordinated omission.
