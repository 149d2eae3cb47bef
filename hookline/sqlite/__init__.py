"""One SQLite file, which the embedded broker, the SQLite store and the SQLite event log share."""
