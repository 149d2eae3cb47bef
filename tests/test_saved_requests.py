"""Refused requests in files: no flood of them, and no full disk, stops `hookline listen` or fills the machine."""

from pathlib import Path

import pytest

from hookline.cli.saved_requests import SavedRequests


def test_files_are_bounded_in_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = SavedRequests(tmp_path, max_files=2, max_bytes=1000)
    assert [saved.keep(b"x") for _ in range(4)] == [str(tmp_path / "1.http"), str(tmp_path / "2.http"), "", ""]
    assert capsys.readouterr().err == (
        f"hookline: {tmp_path}: it has as many requests as --save-max-files allows; no more requests are saved. "
        "Empty it and start again, or name another folder\n"
    )


def test_files_are_bounded_in_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = SavedRequests(tmp_path, max_files=10, max_bytes=250)
    assert [bool(saved.keep(b"x" * 100)) for _ in range(4)] == [True, True, False, False]
    assert capsys.readouterr().err.count("--save-max-bytes") == 1


def test_files_of_earlier_runs_count(tmp_path: Path) -> None:
    SavedRequests(tmp_path, max_files=2, max_bytes=250).keep(b"x" * 100)
    assert SavedRequests(tmp_path, max_files=1, max_bytes=250).keep(b"x") == ""
    assert SavedRequests(tmp_path, max_files=9, max_bytes=250).keep(b"x" * 200) == ""
    assert SavedRequests(tmp_path, max_files=9, max_bytes=250).keep(b"x" * 100) == str(tmp_path / "2.http")


def test_a_folder_that_is_gone_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = SavedRequests(tmp_path / "saved", max_files=2, max_bytes=1000)
    (tmp_path / "saved").rmdir()
    assert [saved.keep(b"x"), saved.keep(b"x")] == ["", ""]
    assert capsys.readouterr().err.count("No such file or directory; no more requests are saved") == 1
