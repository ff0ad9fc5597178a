//! The arbiter: batch capacity, squeeze and eviction decisions. Pure: never IO, never writes a cgroup.
