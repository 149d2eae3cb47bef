"""The HTTP side: a callback comes in, its verified envelope is published, the provider's reply goes out."""
