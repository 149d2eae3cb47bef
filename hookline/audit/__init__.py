"""The audit of refused requests: one SQLite file for each installation on a machine."""
