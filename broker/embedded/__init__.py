"""The embedded broker: queues in one SQLite file, for one machine and with nothing to install."""
