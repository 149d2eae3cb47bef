"""The short run with this store, beside the one with the other store: pytest-xdist keeps a file on one process."""

from pathlib import Path

import pytest

from tests.chaos.short_run import TIMEOUT_S, check_short_run


@pytest.mark.timeout(TIMEOUT_S)
async def test_a_short_run_under_faults_breaks_no_promise(tmp_path: Path) -> None:
    await check_short_run("redis", 107, tmp_path)
