"""Names from users' files are data: they are shown, and neither a terminal nor another program acts on them."""

from __future__ import annotations

import csv
import io
import json
import re
import warnings
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.cli.console import say, show, show_lines
from continuum_sim.plotting.files import csv_of
from continuum_sim.plotting.names import label
from continuum_sim.traces.printable import printable
from support.cli import cli, printed, refused
from support.terminal import STYLE

TOOLS = (
    *("[/x]", "[ls]", "[bold]b", ":smile:", "\x1b]0;owned\x07\x1b[31mred", "a\nb\r\tc", "\u202egpj.exe", "\u2028"),
    *("$x^{$", "a_b$c$d$", "_hidden", "=cmd|' /C calc'!A1", "+1+1", "-1+2", "@SUM(A1)", "\t=1"),
    *("</script><script>alert(1)</script>", "<b>&\"'", "x" * 300),
)


def turn(n: int, **more: object) -> dict[str, object]:
    """The n-th turn of a program that keeps all of the one before."""
    return {"input_tokens": 900 + 100 * n, "kept_tokens": n and 809 + 100 * n, "output_tokens": 9, **more}


def write_trace(path: Path, tools: tuple[str, ...] = TOOLS, copies: int = 1) -> Path:
    rows = [
        {
            "program_id": f"{tool} {number}" + copy * "'",
            "turns": [*(turn(n, tool=tool, tool_s=20.0 - number + n / 9) for n in range(4)), turn(4)],
        }
        for copy in range(copies)
        for number, tool in enumerate(tools)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return write_trace(tmp_path / "t[x]\x1b[2J$^{.jsonl")


def is_plain(text: str) -> bool:
    return STYLE.sub("", text).replace("\n", "").isprintable()


@given(st.text())
def test_printable_text_is_printable_on_one_line(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
    assert (shown == text) == text.isprintable()


@pytest.mark.parametrize(
    ("command", "colour"),
    [
        ("trace stats TRACE", "1"),
        ("run --trace TRACE --policy lru --limit 3 --out TMP/r[/b]", "1"),
        ("trace stats TRACE", ""),
        ("trace check TRACE", ""),
        ("trace fit TRACE --out TMP/f[b].json", ""),
        ("trace compare TRACE bfcl", ""),
        ("trace mix TRACE:1 --out TMP/m[b].jsonl", ""),
        ("trace scale TRACE --scale tokens=2 --out TMP/s[b].jsonl", ""),
        ("trace anonymize TRACE --out TMP/a[b].jsonl", ""),
        ("trace export TRACE --to mooncake --out TMP/e[b].jsonl", ""),
        ("run --trace TRACE --policy lru --limit 3 --out TMP/r[/b]", ""),
        ("compare --trace TRACE --policies lru,ttl --limit 3 --arrivals burst --out TMP/c[/b]", ""),
        ("sweep --trace TRACE --policies lru,ttl --limit 3 --jobs 1 --out TMP/s[/b]", ""),
    ],
)
def test_names_and_paths_are_shown_as_they_are(
    command: str,
    colour: str,
    trace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if colour:
        monkeypatch.setenv("FORCE_COLOR", colour)
    arguments = [part.replace("TRACE", str(trace)).replace("TMP", str(tmp_path)) for part in command.split()]
    code, out, err = cli(capsys, *arguments)
    assert code == 0, err
    assert is_plain(out)
    assert is_plain(err) or colour  # a progress bar moves the cursor
    assert "[/b]" in out + err or "[b]" in out + err or "t[x]" in out
    if "stats" in command and not colour:
        for tool in TOOLS[:6]:
            assert printable(tool) in out


@pytest.mark.parametrize(
    "arguments",
    [
        *("run --trace NAME", "run --policy NAME", "run --model NAME", "run --gpu NAME", "run --arrivals NAME"),
        *("run --scenario NAME", "run --scenario NAME.toml", "run --router NAME", "figures NAME", "report NAME"),
        *("trace stats NAME", "trace export swebench --to NAME --out x", "sweep --vary NAME=1 --out x", "NAME"),
        *("sweep NAME --out x", "run --step-time NAME", "run --seed NAME", "scenarios NAME", "run --replicas NAME"),
    ],
)
@pytest.mark.parametrize("name", ["[/x]", "\x1b]0;owned\x07", "a\u202eb\u2028c", "caf\udce9"])
def test_a_name_in_an_error_is_shown_as_it_is(
    arguments: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    err = refused(capsys, *(part.replace("NAME", name) for part in arguments.split()))
    assert is_plain(err)


def test_no_markup_and_no_emoji_reach_the_console(capsys: pytest.CaptureFixture[str]) -> None:
    show("[/x] :smile: [red]a")
    show_lines("[/x]\x1b[31m")
    say("[/x]\x07")
    assert capsys.readouterr() == ("[/x] :smile: [red]a\n[/x]\\x1b[31m\n", "[/x]\\x07\n")


def test_an_escape_that_slipped_into_results_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    show("one\x1b]0;owned\x07", "two")
    assert STYLE.sub("", capsys.readouterr().out) == "one\\x1b]0;owned\ntwo\n"


@pytest.mark.parametrize("at", [0, *(pytest.param(n, marks=pytest.mark.repeats) for n in range(5, len(TOOLS), 5))])
def test_names_in_pictures_are_no_formulas(at: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_trace(tmp_path / "t.jsonl", TOOLS[at : at + 5], copies=6)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # as of a glyph that is not there
        warnings.simplefilter("ignore", DeprecationWarning)  # of an old matplotlib beside a new pyparsing
        printed(capsys, "trace", "stats", path, "--pictures", tmp_path / "p")
        printed(capsys, "trace", "fit", path, "--out", tmp_path / "f.json", "--picture", tmp_path / "f.svg")
    drawn = (tmp_path / "p" / "gaps.csv").read_bytes().decode()
    cells = [row["curve"] for row in csv.DictReader(io.StringIO(drawn, newline=""))]
    assert {cell.removeprefix("'") for cell in cells} == set(map(printable, TOOLS[at : at + 5]))


def test_a_policy_name_in_a_picture_is_no_formula(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The trace's name is in captions and titles of comparisons."""
    out = tmp_path / "c"
    printed(
        capsys,
        "compare",
        "--trace",
        trace,
        "--policies",
        "lru,ttl",
        "--seeds",
        "0",
        "--limit",
        "3",
        "--arrivals",
        "burst",
        "--out",
        out,
    )
    printed(capsys, "figures", out, "--format", "svg")
    assert (out / "figures" / "jct-cdf.svg").is_file()


def test_a_name_of_a_legend_is_folded_and_not_left_out() -> None:
    assert label("_x") == " _x"
    assert [len(line) for line in label("y" * 500).split("\n")] == [40, 40, 40]
    assert label("a\nb") == "a\\nb"


@given(st.text(max_size=9), st.floats(allow_nan=False, allow_infinity=False), st.integers())
def test_a_cell_of_a_csv_is_no_formula_and_a_number_stays_one(text: str, real: float, whole: int) -> None:
    frame = pd.DataFrame(
        {"text": [text], "real": [real], "whole": pd.Series([whole], dtype=object), "said": [f"{real!r}"]}
    )
    _, row = csv.reader(io.StringIO(csv_of(frame).decode(), newline=""))
    assert row[0].removeprefix("'") == printable(text).removeprefix("'")
    assert not re.match(r"[=+\-@\t\r\n]", row[0]) or str(float(row[0]))  # else it fails to be a number
    assert (float(row[1]), int(row[2]), float(row[3])) == (real, whole, real)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


def tags(page: Path) -> list[str]:
    found = _Page()
    found.feed(page.read_text(encoding="utf-8"))
    return found.tags


def test_names_in_a_page_and_a_timeline_are_text(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harmless = write_trace(tmp_path / "t.jsonl", tuple(f"tool{n}" for n in range(len(TOOLS))))
    pages = []
    for number, path in enumerate((trace, harmless)):
        run = tmp_path / f"r{number}"
        printed(capsys, "run", "--trace", path, "--policy", "lru", "--out", run, "--arrivals", "burst")
        printed(capsys, "report", run, "--no-pictures")
        pages.append(tags(run / "report.html"))
    assert pages[0] == pages[1]
    printed(capsys, "timeline", tmp_path / "r0", "--perfetto", tmp_path / "t.json")
    events = json.loads((tmp_path / "t.json").read_text())
    assert {event["args"].get("name") for event in events} >= {f"{tool} {number}" for number, tool in enumerate(TOOLS)}
