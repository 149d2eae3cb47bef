"""HTTP in, verified envelope published, the provider's reply out."""
