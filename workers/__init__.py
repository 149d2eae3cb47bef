"""Envelope in, typed events out: opens, normalises, claims, handles and settles deliveries."""
