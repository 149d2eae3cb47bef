"""What everybody agrees on: events, envelopes, topics, and one module per provider. Pure: no I/O and no clock."""
