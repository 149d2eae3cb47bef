"""Says step by step whether a request would be accepted, and what to do if not."""
