"""Whatever the input, the reader fails only with a one-line TraceError."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from continuum_sim.traces import TraceError, check_program, find_trace, read_programs

SAMPLE = b"".join(find_trace("bfcl").read_bytes().splitlines(keepends=True)[:4])
FIELDS = ["program_id", "turns", "arrival_s", "shared_prefix", "meta", "id", "tokens"]
FIELDS += ["input_tokens", "kept_tokens", "output_tokens", "tool", "tool_s"]
FIELDS += ["tools", "children", "program", "after_turn", "join_turn"]

fuzz = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_or_refuse(path: Path) -> None:
    """Whatever is read is valid, and a refusal is one line that begins with the file's name."""
    try:
        for program in read_programs(path):
            check_program(program)
    except TraceError as error:
        message = str(error)
    else:
        return
    assert message.startswith(str(path))
    assert message.isprintable()
    assert len(message) < len(str(path)) + 300


@fuzz
@given(content=st.binary(max_size=200))
@example(content=b"\x1f\x8b")
@example(content=b"\x1f\x8b\x08\x00")
@example(content=b"\x28\xb5\x2f\xfd")
@example(content=b"PAR1\x00\x00")
@example(content=b"\xff\xfe{\x00}\x00")
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    read_or_refuse(path)


@fuzz
@given(data=st.data())
def test_damaged_files(tmp_path: Path, data: st.DataObject) -> None:
    compress = data.draw(st.sampled_from([bytes, gzip.compress, lambda raw: pa.compress(raw, "zstd", asbytes=True)]))
    content = bytearray(compress(SAMPLE))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        stop = start + data.draw(st.sampled_from([0, 1, 2, 40]))
        content[start:stop] = data.draw(st.binary(max_size=4))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    read_or_refuse(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([2**53, 2**64, 10**400, ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner, max_size=6),
    max_leaves=12,
)


@fuzz
@given(value=json_values)
def test_any_json(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(value))
    read_or_refuse(path)


@fuzz
@given(
    value=json_values,
    where=st.sampled_from(
        [(f,) for f in FIELDS]
        + [("turns", 0, f) for f in FIELDS]
        + [("turns", -1, f) for f in FIELDS]
        + [("turns", 1)]
        + [("children", 0, f) for f in FIELDS]
        + [("children", 0, "program", f) for f in FIELDS]
    ),
)
def test_one_wrong_value_in_a_sound_program(tmp_path: Path, value: Any, where: tuple[Any, ...]) -> None:
    record, child = (json.loads(line) for line in SAMPLE.splitlines()[:2])
    record["children"] = [{"program": child, "after_turn": 0, "join_turn": 1}]
    target = record
    for key in where[:-1]:
        target = target[key]
    target[where[-1]] = value
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(record))
    read_or_refuse(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "cp037"])
def test_other_encodings_are_refused_not_guessed(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(SAMPLE.decode().encode(encoding))
    with pytest.raises(TraceError, match=r"t\.jsonl:1: "):
        list(read_programs(path))
