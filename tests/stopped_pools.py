"""How a test stops a pool, in the order of `serve`."""

from hookline.workers.ordered_pool import OrderedPool
from hookline.workers.pool import Pool


async def stop(pool: Pool | OrderedPool, grace_s: float) -> None:
    """Let events in flight finish for so long, and return the rest to the queue."""
    await pool.drain(grace_s)
    await pool.close()
