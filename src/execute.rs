//! The async shell: fetches everything, then calls the pure core.
