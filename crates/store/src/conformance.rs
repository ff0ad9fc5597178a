//! What every implementation of [`Store`] must do, as tests that any of them can run.
