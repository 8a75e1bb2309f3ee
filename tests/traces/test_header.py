"""The optional first line of a trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces import Program, TraceError, TraceHeader, read_header, read_programs, write_programs

HEADER = TraceHeader("mine", measured=("input_tokens",), missing=("tool_s: 0",), notes={"taken as 1": 2}, files=3)


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz", "t.jsonl.zst"])
@pytest.mark.parametrize("later", [False, True])
def test_what_is_written_is_read(tmp_path: Path, chat: Callable[..., Program], name: str, later: bool) -> None:
    programs = [chat("a"), chat("b")]
    write_programs(tmp_path / name, programs, (lambda: HEADER) if later else HEADER)
    assert read_header(tmp_path / name) == HEADER
    assert list(read_programs(tmp_path / name)) == programs
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_trace_without_one(tmp_path: Path, chat: Callable[..., Program]) -> None:
    write_programs(tmp_path / "t.jsonl", [chat()])
    assert read_header(tmp_path / "t.jsonl") is None


def test_a_header_made_after_the_programs(tmp_path: Path, chat: Callable[..., Program]) -> None:
    seen: list[str] = []

    def programs() -> Any:
        for name in "ab":
            seen.append(name)
            yield chat(name)

    write_programs(tmp_path / "t.jsonl", programs(), lambda: TraceHeader("mine", files=len(seen)))
    header = read_header(tmp_path / "t.jsonl")
    assert header is not None
    assert header.files == 2


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"continuum_trace": 2, "format": "x"}, "continuum_trace is 2, expected 1"),
        ({"continuum_trace": 1}, "format is null, expected a string"),
        ({"continuum_trace": 1, "format": "x", "measurd": []}, 'measurd is an unknown field .*did you mean "measured"'),
        ({"continuum_trace": 1, "format": "x", "measured": [1]}, "measured is an array, expected an array of strings"),
        ({"continuum_trace": 1, "format": "x", "notes": {"a": "b"}}, "notes is an object, expected"),
        ({"continuum_trace": 1, "format": "x", "files": -1}, "files is -1, expected a whole number from 0"),
        (b'{"continuum_trace": 1, "format"}', "the header is not valid JSON"),
    ],
)
def test_a_header_that_is_not_valid(
    write_lines: Callable[..., Path], record: dict[str, Any], header: object, message: str
) -> None:
    path = write_lines(header, record)
    for read in (read_header, lambda p: list(read_programs(p))):
        with pytest.raises(TraceError, match=rf"t\.jsonl:1: {message}"):
            read(path)


def test_a_header_further_down_is_refused(write_lines: Callable[..., Path], record: dict[str, Any]) -> None:
    path = write_lines(record, {"continuum_trace": 1, "format": "x"})
    with pytest.raises(TraceError, match=r"t\.jsonl:2: .*continuum_trace"):
        list(read_programs(path))


def test_a_header_alone_is_no_trace(write_lines: Callable[..., Path]) -> None:
    with pytest.raises(TraceError, match="no program in it"):
        list(read_programs(write_lines({"continuum_trace": 1, "format": "x"})))
