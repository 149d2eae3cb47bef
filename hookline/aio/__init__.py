"""asyncio mechanisms that know nothing of events. Every room may import them."""
