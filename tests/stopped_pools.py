"""How a test follows a pool, and stops it in the order of `serve`."""

from hookline.workers.ordered_pool import OrderedPool
from hookline.workers.pool import Pool, Report
from hookline.workers.work import Work


async def stop(pool: Pool | OrderedPool, grace_s: float) -> None:
    """Let events in flight finish for so long, and return the rest to the queue."""
    await pool.drain(grace_s)
    await pool.close()


def kept_in(works: list[Work]) -> Report:
    """A report that keeps every settled delivery in a list."""
    return lambda _, settled: works.extend(work for work, _ in settled)
