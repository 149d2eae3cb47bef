"""Mechanisms that know nothing of events: of asyncio, of threads, of the disk. Every room may import them."""
