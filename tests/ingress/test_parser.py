"""The ingress opens with the strict parser only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import http_parser

from hookline.ingress.server import check_parser
from hookline.schemas.errors import SettingsError
from tests.ingress.house import opened

ROOT = Path(__file__).parents[2]
START = """
import asyncio
from tests.ingress.house import opened

async def main():
    async with opened():
        print("open")

asyncio.run(main())
"""


def test_without_the_parser_in_c_the_door_stays_shut() -> None:
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


async def test_with_it_the_door_opens() -> None:
    async with opened() as house:
        assert house.port


def test_what_to_do_about_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_parser, "HttpRequestParser", http_parser.HttpRequestParserPy)
    with pytest.raises(SettingsError, match="unset AIOHTTP_NO_EXTENSIONS, or install aiohttp from a wheel"):
        check_parser()
