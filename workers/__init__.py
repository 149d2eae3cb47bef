"""Envelope in, typed event out, handler called, delivery settled."""
