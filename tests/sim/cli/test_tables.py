"""Tables on terminals of any width: nothing is cut, and every row says what it is about."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from continuum_sim.cli.tables import StackedTable
from continuum_sim.results.view import Column, name, numbers, words
from support.cli import cli, printed
from support.recorded_logs import requests as recorded
from support.recorded_logs import simulated_rows, write_lines
from support.terminal import on_terminal

FEW = ("--limit", "4", "--max-turns", "5", "--arrivals", "poisson:rate=1")
POLICIES = "lru,order=program-fifo,retention=ttl-static:pressure=younger,ttl"


def is_whole(word: str, text: str) -> bool:
    """Return True if a word is in a text, whole or wrapped into pieces of one width."""
    there = set(text.split())
    return any(
        all(word[at : at + width] in there for at in range(0, len(word), width)) for width in range(len(word), 5, -1)
    )


def lost(wide: str, narrow: str) -> list[str]:
    """Return the words of a wide output that a narrow one lacks; numbers must not be wrapped."""
    narrow = narrow.replace(", ", " ").replace(",\n", "\n")  # names may be joined with commas
    there = set(narrow.split())
    found = {word.rstrip(",") for word in re.sub(r"simulated in .*", "", wide).split()}
    found = {word for word in found if not re.fullmatch(r"[─█▓▒░▘▚▞]+", word)}
    return sorted(w for w in found if w not in there and (re.match(r"[+−]?\d", w) or not is_whole(w, narrow)))


@pytest.mark.parametrize(
    "command",
    [
        ("run", *FEW, "--replicas", "2"),
        ("compare", "--policies", POLICIES, *FEW, "--replicas", "2"),
        (
            "sweep",
            "--policies",
            "lru,ttl",
            "--rates",
            "0.5,2",
            "--vary",
            "kv_blocks=1300,1400",
            *FEW[:4],
            "--jobs",
            "1",
        ),
        ("hardware", "--model", "llama-3.1-8b,qwen3-32b", "--gpu", "h100-pcie,rtx-pro-6000,l4"),
        ("hardware",),
        ("trace", "list"),
        ("trace", "stats", "bfcl", "--limit", "9"),
        ("trace", "compare", "bfcl", "bfcl"),
        ("trace", "fit", "swebench", "--limit", "9", "--out", "{tmp}/fit.json"),
        ("trace", "import", "--formats"),
        ("policies",),
        ("scenarios",),
        ("scenarios", "continuum-fig16-swe"),
        ("figures", "--list"),
    ],
    ids=" ".join,
)
def test_a_narrow_terminal_shows_what_a_wide_one_does(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(width: int) -> str:
        out = ("--out", tmp_path / f"s{width}") if command[0] == "sweep" else ()
        made = (part.format(tmp=tmp_path) for part in command)
        return on_terminal(monkeypatch, capsys, width, *made, *out)

    wide = shown(200)
    for width in (60, 80):
        narrow = shown(width)
        assert lost(wide, narrow) == []
        assert max(map(cell_len, narrow.splitlines())) <= max(width, *map(cell_len, unwrapped(narrow)))


def unwrapped(text: str) -> list[str]:
    """Lines that the terminal itself may wrap: they hold a path."""
    return [line for line in text.splitlines() if "/fit.json:" in line] or [""]


def test_every_row_of_a_narrow_comparison_has_its_policy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = on_terminal(monkeypatch, capsys, 80, "compare", "--policies", "lru,ttl", *FEW)
    for line in out.partition("JCT, and")[2].partition("note")[0].splitlines():
        if re.search(r"  \d", line):
            assert line.startswith(("lru", "ttl", "policy"))


@pytest.mark.slow
def test_a_search_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    few = ("--limit", "4", "--max-turns", "5", "--kv-blocks", "1300", "--jobs", "1")
    command = ("sweep", "tune", "ttl-static", "--rate", "2", "--trials", "3", "--seeds", "0", "--holdout", "1", *few)
    assert lost(on_terminal(monkeypatch, capsys, 200, *command), on_terminal(monkeypatch, capsys, 60, *command)) == []


def test_a_recorded_report_on_a_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write_lines(tmp_path / "log.jsonl", simulated_rows(recorded(12)))
    engine = ("--step-time", "roofline", "--model", "llama-3.1-8b", "--gpu", "a100-80", "--kv-blocks", "60")
    command = ("backtest", log, *engine, "--max-model-len", "900", "--tolerance", "1000")
    wide = on_terminal(monkeypatch, capsys, 200, *command)
    assert "p90" in wide
    for width in (60, 80):
        assert lost(wide, on_terminal(monkeypatch, capsys, width, *command)) == []


def test_a_pipe_is_as_wide_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "compare", "--policies", "lru,ttl", "--seeds", "0", *FEW)
    assert re.search(r"^policy +mean +p50 +p90 +p95 +p99 +queue +prefill +decode +tool +programs/h$", out, re.M)


def test_how_far_a_command_is_is_not_cut_either(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    with mock.patch("continuum_sim.cli.progress._REFRESH_S", 0.0):
        _, _, err = cli(capsys, "compare", "--policies", "lru,ttl", "--seeds", "0", *FEW)
    assert "programs" in err
    assert "…" not in err


_NAMES = st.text("abcdefg-:=,[]/$", min_size=1, max_size=50)
_NUMBERS = st.integers(-(10**9), 10**12).map(lambda n: f"{n:,}")


@given(
    st.lists(st.tuples(_NAMES, _NAMES, st.lists(_NUMBERS, min_size=6, max_size=6)), min_size=1, max_size=5),
    st.integers(40, 200),
)
@settings(max_examples=40)
def test_no_cell_is_cut(rows: list[tuple[str, str, list[str]]], width: int) -> None:
    heads = numbers("one", "two", "three")
    more = [Column("of it", joined=True), *numbers("four"), words("said")]
    table = StackedTable([name("first"), name("second"), *heads, *more], "Title")
    for first, second, values in rows:
        table.add_row(first, second, *values)
    console = Console(width=width, file=StringIO(), markup=False, highlight=False, emoji=False)
    console.print(table)
    out = console.file.getvalue()  # type: ignore[attr-defined]
    letters = "".join(out.split())
    assert all(cell_len(line) <= width for line in out.splitlines())
    assert "…" not in out
    for first, second, values in rows:
        assert set(values[:5]) <= set(out.split())
        assert letters.count(first[0]) >= 1
        assert letters.count(second[0]) >= 1
