//! The Kubernetes API server: discovery, CRUD, patch, watch, admission, authentication. Never decides placement, never runs controllers.
