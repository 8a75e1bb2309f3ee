"""A file's JSON values, in any layout over its lines."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.traces import import_trace, read_programs
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.sources import Source, each_row
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.importers.values import decode, reader
from support.logs import SAMPLES

_ROWS = st.lists(
    st.dictionaries(st.text(), st.one_of(st.integers(-9, 9), st.text(), st.lists(st.text())), min_size=1), min_size=1
)


def rows(path: Path, *, skip_bad: bool = False) -> list[tuple[int, Any]]:
    return [(line, row) for _, line, row in each_row([Source(path)], ImportState(skip_bad=skip_bad))]


@given(
    values=_ROWS,
    indent=st.sampled_from([None, 0, 2]),
    array=st.booleans(),
    between=st.sampled_from(["\n", "\n\n", "\n \n"]),
)
def test_every_layout_has_the_same_values(tmp_path_factory, values, indent, array, between):  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("v") / "a.json"
    path.write_text(
        json.dumps(values, indent=indent) if array else between.join(json.dumps(v, indent=indent) for v in values)
    )
    read = rows(path)
    assert [row for _, row in read] == values
    text = path.read_text().split("\n")
    for line, row in read:
        assert "\n".join(text[line - 1 :]).lstrip("[ ").startswith(json.dumps(row, indent=None)[:1])


_LINES = st.sampled_from(
    [
        b'{"a": 1}',
        b'{"a": {}}',
        b'{"a": 1} {"b": 2}',
        b'{"a":',
        b"1}",
        b'{"b": {}',
        b'{"a": "}',
        b'{"c": 3}}',
        b"",
        b"7",
    ]
)


@given(st.lists(_LINES, min_size=1), st.sampled_from([b"\n", b"\r\n"]))
def test_lines_read_together_are_what_each_is_alone(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], end: bytes
) -> None:
    path = tmp_path_factory.mktemp("v") / "a.jsonl"
    lines = [b'{"first": 1}', *lines]
    path.write_bytes(end.join(lines))
    alone = []
    for number, line in enumerate(lines, 1):
        with contextlib.suppress(TraceError):
            alone += [(number, decode(line))] if line else []
    assert rows(path, skip_bad=True) == alone


def test_places_are_lines_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[\n{"a":\n1},\n\n{"b": 2},\n  {"c": 3}]')
    assert rows(path) == [(2, {"a": 1}), (5, {"b": 2}), (6, {"c": 3})]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{\n"a": 1,\n"b": tru\n}', ":3: not valid JSON"),
        ('{\n"a": 1\n}\n{\n"b": 2', ":5: not valid JSON (Input data was"),
    ],
)
def test_what_is_no_json_is_named_by_its_line(tmp_path: Path, text: str, place: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(TraceError) as caught:
        rows(path)
    assert place in str(caught.value)


class Point(msgspec.Struct):
    x: Any = None
    inner: Point | None = None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"x": 1, "inner": 5}', "inner: Expected object | null, got int"),
        (b"[]", "the value: Expected object, got array"),
        (b'{"x": tru}', "not valid JSON"),
        (b"", "not valid JSON"),
        (b'{"inner":' * 100_000, "nested too deeply"),
    ],
)
def test_a_value_of_another_kind_is_named_by_its_field(data: bytes, message: str) -> None:
    with pytest.raises(TraceError, match=re.escape(message)):
        reader(Point)(data)


def test_what_is_not_needed_of_a_value_is_passed_over() -> None:
    assert reader(Point)(b'{"y": {"deep": [1, "secret"]}, "x": 2}') == Point(2)


def test_a_first_line_cut_off_costs_that_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1, "b\n{"c": 2}\n{"d": 3}\n')
    assert rows(path, skip_bad=True) == [(2, {"c": 2}), (3, {"d": 3})]


@pytest.mark.parametrize(
    "name", ["mooncake", "openhands", "bfcl", "openai-log", "tracelab", "codex", "otel-logs", "gemini-cli", "pi"]
)
def test_lines_may_be_an_array_or_spread_out(tmp_path: Path, name: str) -> None:
    file, sample = SAMPLES[name]
    values = [json.loads(line) for line in sample.splitlines()]
    texts = [
        sample.decode(),
        json.dumps(values),
        json.dumps(values, indent=1),
        "\n".join(json.dumps(v, indent=1) for v in values),
    ]
    made = []
    for text in texts:
        source = tmp_path / file
        source.write_text(text)
        import_trace([source], tmp_path / "out.jsonl", format=name)
        made.append([program.turns for program in read_programs(tmp_path / "out.jsonl")])
    assert made[0]
    assert all(other == made[0] for other in made[1:])
