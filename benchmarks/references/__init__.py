"""The references: small programs that do less than Hookline, or do it in the obvious way."""
