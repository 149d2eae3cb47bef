"""The ingress starts with the strict parser only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import http_parser

from hookline.ingress.server import check_parser
from hookline.schemas.errors import SettingsError
from tests.ingress.running_ingress import running_ingress

ROOT = Path(__file__).parents[2]
START = """
import asyncio
from tests.ingress.running_ingress import running_ingress

async def main():
    async with running_ingress():
        print("open")

asyncio.run(main())
"""


def test_the_ingress_does_not_start_without_the_parser_in_c() -> None:
    ended = subprocess.run(  # noqa: S603  ourselves
        [sys.executable, "-c", START],
        cwd=ROOT,
        env={**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert ended.stdout == ""
    assert "SettingsError: aiohttp lacks its C extension" in ended.stderr


async def test_the_ingress_starts_with_the_parser_in_c() -> None:
    async with running_ingress() as ingress:
        assert ingress.port


def test_the_error_says_how_to_get_the_parser_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_parser, "HttpRequestParser", http_parser.HttpRequestParserPy)
    with pytest.raises(SettingsError, match="unset AIOHTTP_NO_EXTENSIONS, or install aiohttp from a wheel"):
        check_parser()
