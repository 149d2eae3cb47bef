"""One SQLite file, used by the embedded broker and by the SQLite store."""
