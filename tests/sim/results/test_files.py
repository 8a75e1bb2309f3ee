"""Run directories appear whole or not at all, and never overwrite other files."""

from __future__ import annotations

from pathlib import Path

import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.results.files import check_free, staged_directory


def test_a_directory_appears_when_the_block_succeeds(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "run"
    with staged_directory(out) as staged:
        (staged / "a").write_text("x")
        assert not out.exists()
    assert [path.name for path in out.iterdir()] == ["a"]
    assert [path.name for path in out.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_when_the_block_fails(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with staged_directory(tmp_path / "run") as staged:
            (staged / "a").write_text("x")
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_directory_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with staged_directory(tmp_path / "run") as staged:
        (staged / "a").touch()
    assert (tmp_path / "run" / "a").exists()


def test_earlier_results_are_replaced_by_force_alone(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with staged_directory(out) as staged:
        (staged / "manifest.json").write_text("{}")
        (staged / "old").touch()
    with pytest.raises(ConfigError, match=r"holds earlier results.*--force"):
        check_free(out)
    with staged_directory(out, force=True) as staged:
        (staged / "manifest.json").write_text("{}")
    assert [path.name for path in out.iterdir()] == ["manifest.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_earlier_results_survive_a_failed_replacement(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with staged_directory(out) as staged:
        (staged / "manifest.json").write_text("{}")
    with pytest.raises(RuntimeError), staged_directory(out, force=True):
        raise RuntimeError
    assert [path.name for path in out.iterdir()] == ["manifest.json"]


def test_files_of_others_are_refused_even_by_force(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="not results of this program"), staged_directory(tmp_path, force=True):
        pass
    with pytest.raises(ConfigError, match="is a file"), staged_directory(tmp_path / "thesis.tex", force=True):
        pass
    assert (tmp_path / "thesis.tex").exists()


def test_results_that_appear_meanwhile_are_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "run"

    def collide() -> None:
        with staged_directory(out) as staged:
            (staged / "mine").touch()
            out.mkdir()
            (out / "manifest.json").write_text("{}")

    with pytest.raises(ConfigError, match="earlier results"):
        collide()
    assert [path.name for path in out.iterdir()] == ["manifest.json"]
