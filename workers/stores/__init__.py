"""The implementations of `workers.store.Store` in SQLite, Redis and PostgreSQL, and what they share."""
