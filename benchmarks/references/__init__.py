"""What Hookline is measured against: small programs that do less, or do it in the obvious way."""
