"""Whatever the input, an importer fails only with a one-line TraceError, and never writes an invalid trace."""

from __future__ import annotations

import gzip
import json
import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from continuum_sim.traces import TraceError, check_program, import_trace, read_programs
from continuum_sim.traces.importers import importers
from support.logs import NEED_TOKENIZER, SAMPLES, word_tokenizer

fuzz = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
formats = pytest.mark.parametrize("name", sorted(SAMPLES))

odd_values = st.sampled_from(
    [
        *(None, True, False, "", "x", "\ud800", "\x00\n\x1b[0m", "9" * 400),
        *(0, -1, 1, 2**53, 2**53 + 1, 2**63, 2**64, 10**30, -0.5, 1.5, 1e12, 1e300),
        *("2026-13-45T99:99:99Z", "0001-01-01T00:00:00+23:59"),
        *([], {}, [[]], [{}], [None], [0], {"": {}}, {"value": 1}, ["a", 1, None]),
    ]
)


def import_or_refuse(folder: Path, name: str, content: bytes, *, given: bool = True) -> None:
    """Import with and without --skip-bad: the result is valid, and a refusal is one line."""
    source, out = folder / SAMPLES[name][0], folder / "out.jsonl"
    source.write_bytes(content)
    tokenizer = folder / "tokenizer.json" if name in NEED_TOKENIZER else None
    if tokenizer is not None and not tokenizer.exists():
        word_tokenizer(folder)
    for skip_bad in (False, True):
        out.unlink(missing_ok=True)
        try:
            import_trace([source], out, format=name if given else None, tokenizer=tokenizer, skip_bad=skip_bad)
        except TraceError as error:
            message = str(error)
            assert message.isprintable()
            assert len(message) < 2 * len(str(folder)) + 700
            assert not out.exists()
        else:
            for program in read_programs(out):
                check_program(program)
        assert not list(folder.glob(".*")), "a temporary file was left behind"


@pytest.fixture(autouse=True)
def _needs(request: pytest.FixtureRequest) -> None:
    if "name" in request.fixturenames and request.getfixturevalue("name") in NEED_TOKENIZER:
        pytest.importorskip("tokenizers", reason="counting tokens needs the library tokenizers")


def test_every_importer_is_fuzzed() -> None:
    assert set(SAMPLES) == set(importers())


@formats
@fuzz
@given(data=st.data())
def test_damaged_bytes(tmp_path: Path, name: str, data: st.DataObject) -> None:
    content = bytearray(SAMPLES[name][1])
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        stop = start + data.draw(st.sampled_from([0, 1, 2, 40]))
        content[start:stop] = data.draw(st.binary(max_size=4))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    import_or_refuse(tmp_path, name, bytes(content), given=data.draw(st.booleans()))


@formats
@fuzz
@given(data=st.data())
def test_wrong_values_anywhere(tmp_path: Path, name: str, data: st.DataObject) -> None:
    sample = SAMPLES[name][1]
    if sample.lstrip()[:1] not in (b"{", b"["):
        pytest.skip("no JSON")
    values = [json.loads(sample)] if sample.lstrip().startswith(b"{\n") or b"\n{" not in sample else None
    values = values or [json.loads(line) for line in sample.splitlines()]
    for _ in range(data.draw(st.integers(1, 3))):
        places = _places(values)
        holder, key = places[data.draw(st.integers(0, len(places) - 1))]
        action = data.draw(st.sampled_from(["set", "set", "set", "delete", "twice"]))
        if action == "set":
            holder[key] = deepcopy(data.draw(odd_values))
        elif action == "delete":
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, deepcopy(holder[key]))
        if not values:
            break
    content = b"".join(json.dumps(value).encode() + b"\n" for value in values)
    import_or_refuse(tmp_path, name, content)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return every (object or array, key) inside a value."""
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found.append((value, key))
        found += _places(inner)
    return found


@formats
@pytest.mark.parametrize("seed", range(5))
def test_lines_in_another_order(tmp_path: Path, name: str, seed: int) -> None:
    lines = SAMPLES[name][1].splitlines(keepends=True)
    random.Random(seed).shuffle(lines)
    import_or_refuse(tmp_path, name, b"".join(lines))


@formats
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "cp037"])
def test_other_encodings_are_refused_not_guessed(tmp_path: Path, name: str, encoding: str) -> None:
    source = tmp_path / SAMPLES[name][0]
    source.write_bytes(SAMPLES[name][1].decode().encode(encoding))
    with pytest.raises(TraceError):
        import_trace([source], tmp_path / "out.jsonl", format=name, tokenizer=word_tokenizer(tmp_path))


@formats
def test_a_byte_order_mark_is_passed_over(tmp_path: Path, name: str) -> None:
    source = tmp_path / SAMPLES[name][0]
    source.write_bytes(b"\xef\xbb\xbf" + SAMPLES[name][1])
    import_trace([source], tmp_path / "out.jsonl", tokenizer=word_tokenizer(tmp_path))


@formats
@pytest.mark.parametrize("packed", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_cut_off_archives_are_refused(tmp_path: Path, name: str, packed: Any) -> None:
    source = tmp_path / SAMPLES[name][0]
    content = packed(SAMPLES[name][1])
    for size in (len(content) - 1, len(content) // 2):
        source.write_bytes(content[:size])
        with pytest.raises(TraceError):
            import_trace([source], tmp_path / "out.jsonl", format=name, tokenizer=word_tokenizer(tmp_path))


@formats
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"null",
        b"[]",
        b"{}",
        b"NaN",
        b'{"a":NaN}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 5000,
        b'{"a":' + b"9" * 5000 + b"}",
        b'"\\ud800"',
        b"\x1f\x8b",
        b"\x28\xb5\x2f\xfd",
    ],
    ids=lambda content: repr(content[:12]),
)
def test_hardly_anything(tmp_path: Path, name: str, content: bytes) -> None:
    import_or_refuse(tmp_path, name, content)
    import_or_refuse(tmp_path, name, content, given=False)
