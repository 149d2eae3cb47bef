"""The stores behind `workers.store.Store`: SQLite, Redis and PostgreSQL, and what they share."""
