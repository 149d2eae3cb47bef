"""The inspector: pages on the operator's port that show what came in, and what became of it."""
