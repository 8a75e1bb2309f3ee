from __future__ import annotations

import gzip
import json
import os
import shutil
import threading
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from continuum_sim.traces import (
    Program,
    SharedPrefix,
    TraceError,
    Turn,
    bundled_traces,
    check_trace,
    find_trace,
    read_programs,
    trace_sha256,
)

WriteLines = Callable[..., Path]
MISSING = object()
OF_FIRST = " (the first turn's input_tokens)"
OF_PREVIOUS = " (the previous turn's prompt + output)"
NOTHING_BEFORE = "expected 0 (nothing comes before the first turn)"
NO_TOOL = " (no tool follows the last turn)"
A_NAME = "expected the name of what fills the gap (null is for the last turn)"
ONE_A_LINE = "expected one program (a JSON object) a line"
NO_NAME = "expecting property name enclosed in double quotes"
TOKENS = "an integer from 1 to 2**53"
SECONDS = "a finite number of seconds from 0 to 1e+12"
TURN_FIELDS = "input_tokens, kept_tokens, output_tokens, tool, tool_s, tools, finish, mean_acceptance_length"
PROGRAM_FIELDS = "program_id, turns, arrival_s, shared_prefix, children, priority, meta"


def error_of(path: Path) -> str:
    with pytest.raises(TraceError) as caught:
        list(read_programs(path))
    return str(caught.value)


def test_reads_every_field(record: dict[str, Any], write_lines: WriteLines) -> None:
    assert list(read_programs(write_lines(record))) == [
        Program(
            "a",
            (Turn(100, 0, 10, "ls", 0.5), Turn(150, 110, 20)),
            arrival_s=1.5,
            shared_prefix=SharedPrefix("sys", 50),
        )
    ]


def test_optional_fields_may_be_absent_and_times_are_floats(write_lines: WriteLines) -> None:
    line = {
        "program_id": "a",
        "meta": {"anything": [1, None, {"goes": "here"}]},
        "turns": [
            {"input_tokens": 5, "kept_tokens": 0, "output_tokens": 1, "tool": "t", "tool_s": 3},
            {"input_tokens": 5, "kept_tokens": 0, "output_tokens": 1},
        ],
    }
    (program,) = read_programs(write_lines(line))
    assert program.arrival_s is None
    assert program.shared_prefix is None
    assert program.turns[1] == Turn(5, 0, 1, None, 0.0)
    assert type(program.turns[0].tool_s) is float


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("program_id",), MISSING, "program_id is missing, expected a non-empty string"),
        (("program_id",), "", 'program_id is "", expected a non-empty string'),
        (("program_id",), 7, "program_id is 7, expected a non-empty string"),
        (("program_id",), "\ud800", 'program_id is "\\ud800", expected a string of valid Unicode'),
        (("priority",), 0.5, "priority is 0.5, expected an integer from -1000000 to 1000000"),
        (("priority",), False, "priority is false, expected an integer from -1000000 to 1000000"),
        (("arrival_s",), -1, f"arrival_s is -1.0, expected {SECONDS}"),
        (("arrival_s",), True, f"arrival_s is true, expected {SECONDS}"),
        (("arrival_s",), 10**300, f"arrival_s is a number of about 301 digits, expected {SECONDS}"),
        (("arrival_s",), -(10**400), f"arrival_s is a number of about 401 digits, expected {SECONDS}"),
        (("turns",), MISSING, "turns is missing, expected an array of turns"),
        (("turns",), {}, "turns is an object, expected an array of turns"),
        (("turns",), [], "turns is empty, expected at least one turn"),
        (("meta",), 3, "meta is 3, expected an object"),
        (("shared_prefix",), "sys", 'shared_prefix is "sys", expected an object with id, tokens'),
        (
            ("shared_prefix", "tokens"),
            0,
            f"shared_prefix.tokens is 0, expected an integer from 1 to 100{OF_FIRST}",
        ),
        (
            ("shared_prefix", "tokens"),
            101,
            f"shared_prefix.tokens is 101, expected an integer from 1 to 100{OF_FIRST}",
        ),
        (("shared_prefix", "id"), None, "shared_prefix.id is null, expected a non-empty string"),
        (("shared_prefix", "size"), 3, "shared_prefix.size is an unknown field, expected only id, tokens"),
        (("turns", 1), None, f"turns[1] is null, expected an object with {TURN_FIELDS}"),
        (("turns", 0, "input_tokens"), MISSING, f"turns[0].input_tokens is missing, expected {TOKENS}"),
        (("turns", 0, "input_tokens"), 0, f"turns[0].input_tokens is 0, expected {TOKENS}"),
        (("turns", 0, "input_tokens"), 100.0, f"turns[0].input_tokens is 100.0, expected {TOKENS}"),
        (("turns", 0, "input_tokens"), True, f"turns[0].input_tokens is true, expected {TOKENS}"),
        (
            ("turns", 1, "input_tokens"),
            2**53 + 1,
            f"turns[1].input_tokens is 9007199254740993, expected {TOKENS}",
        ),
        (("turns", 1, "output_tokens"), "20", f'turns[1].output_tokens is "20", expected {TOKENS}'),
        (("turns", 1, "output_tokens"), -1, f"turns[1].output_tokens is -1, expected {TOKENS}"),
        (("turns", 0, "kept_tokens"), 5, f"turns[0].kept_tokens is 5, {NOTHING_BEFORE}"),
        (
            ("turns", 1, "kept_tokens"),
            111,
            f"turns[1].kept_tokens is 111, expected an integer from 0 to 110{OF_PREVIOUS}",
        ),
        (
            ("turns", 1, "kept_tokens"),
            MISSING,
            f"turns[1].kept_tokens is missing, expected an integer from 0 to 110{OF_PREVIOUS}",
        ),
        (
            ("turns", 1, "input_tokens"),
            90,
            "turns[1].kept_tokens is 110, expected an integer from 0 to 90 (this turn's input_tokens)",
        ),
        (("turns", 0, "tool"), MISSING, "turns[0].tool is missing, expected a non-empty string"),
        (("turns", 0, "tool"), None, f"turns[0].tool is null, {A_NAME}"),
        (("turns", 0, "tool_s"), MISSING, f"turns[0].tool_s is missing, expected {SECONDS}"),
        (("turns", 0, "tool_s"), None, f"turns[0].tool_s is null, expected {SECONDS}"),
        (("turns", 0, "tool_s"), -0.1, f"turns[0].tool_s is -0.1, expected {SECONDS}"),
        (("turns", 0, "finish"), "length", 'turns[0].finish is "length", expected one of stop, max_tokens'),
        (("turns", 1, "finish"), None, "turns[1].finish is null, expected one of stop, max_tokens"),
        (
            ("turns", 1, "mean_acceptance_length"),
            0.5,
            "turns[1].mean_acceptance_length is 0.5, expected a number from 1 to 129",
        ),
        (
            ("turns", 0, "mean_acceptance_length"),
            "2",
            'turns[0].mean_acceptance_length is "2", expected a number from 1 to 129',
        ),
        (("turns", 1, "tool"), "ls", f'turns[1].tool is "ls", expected null{NO_TOOL}'),
        (("turns", 1, "tool_s"), 1, f"turns[1].tool_s is 1.0, expected 0{NO_TOOL}"),
        (("turns", 1, "tool_s"), False, f"turns[1].tool_s is false, expected 0{NO_TOOL}"),
        (
            ("turns", 0, "input_token"),
            1,
            f'turns[0].input_token is an unknown field, did you mean "input_tokens"? expected only {TURN_FIELDS}',
        ),
        (
            ("arival_s",),
            1,
            f'arival_s is an unknown field, did you mean "arrival_s"? expected only {PROGRAM_FIELDS}',
        ),
        (("x\ny",), 1, f"x\\ny is an unknown field, expected only {PROGRAM_FIELDS}"),
    ],
)
def test_a_bad_field_is_named_with_file_line_value_and_expectation(
    record: dict[str, Any], write_lines: WriteLines, where: tuple[Any, ...], value: object, message: str
) -> None:
    spoilt = json.loads(json.dumps(record))
    target = spoilt
    for key in where[:-1]:
        target = target[key]
    if value is MISSING:
        del target[where[-1]]
    else:
        target[where[-1]] = value
    path = write_lines({**record, "program_id": "fine"}, spoilt)
    assert error_of(path) == f"{path}:2: {message}"


LATE = b'{"program_id":"a","arrival_s":1e999,"turns":[{"input_tokens":1,"kept_tokens":0,"output_tokens":1}]}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"[]", f"the line is an array, expected an object with {PROGRAM_FIELDS}"),
        (b"17", f"the line is 17, expected an object with {PROGRAM_FIELDS}"),
        (b'{"program_id": "a"', f"not valid JSON at column 19 (expecting ',' delimiter), {ONE_A_LINE}"),
        (b"{", f"not valid JSON at column 2 ({NO_NAME}), {ONE_A_LINE}"),
        (b"\x00\x01", f"not valid JSON at column 1 (expecting value), {ONE_A_LINE}"),
        (b'"\xe9"', "byte 0xe9 at column 2 is not UTF-8, expected text"),
        ("{}".encode("utf-16"), "byte 0xff at column 1 is not UTF-8, expected text"),
        (b'{"arrival_s":NaN}', "NaN is not JSON, expected finite numbers"),
        (b'{"arrival_s":-Infinity}', "-Infinity is not JSON, expected finite numbers"),
        (b'{"turns":[],"turns":[]}', 'field "turns" appears twice in one object, expected once'),
        (b"[" * 100_000, f"nested too deeply, {ONE_A_LINE}"),
        (b"1" * 5_000, "a number in it is too long to read, expected at most 2**53"),
        (LATE, f"arrival_s is Infinity, expected {SECONDS}"),
    ],
    ids=range(13),
)
def test_a_line_that_is_no_program(write_lines: WriteLines, line: bytes, message: str) -> None:
    path = write_lines(line)
    assert error_of(path) == f"{path}:1: {message}"


def test_a_repeated_program_id_names_both_lines(record: dict[str, Any], write_lines: WriteLines) -> None:
    path = write_lines(record, b"", {**record, "program_id": "b"}, record)
    assert error_of(path) == f'{path}:4: program_id "a" is also on line 1, expected a new one'


def test_blank_lines_and_byte_order_mark_are_passed_over(record: dict[str, Any], write_lines: WriteLines) -> None:
    path = write_lines(b"\xef\xbb\xbf" + json.dumps(record).encode() + b"\r", b"", b" \t ")
    assert [program.program_id for program in read_programs(path)] == ["a"]


@pytest.mark.parametrize("content", [b"", b"\n\n", gzip.compress(b"", mtime=0)])
def test_a_file_without_programs_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    assert error_of(path) == f"{path}: no program in it, expected one JSON object a line"


def test_a_line_without_end_does_not_fill_memory(tmp_path: Path) -> None:
    path = tmp_path / "zeros.jsonl"
    path.write_bytes(gzip.compress(b" " * (65 * 2**20), compresslevel=1))
    assert error_of(path) == f"{path}:1: longer than 64 MiB, {ONE_A_LINE}"


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("compress", [gzip.compress, zstd])
@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz", "t.jsonl.zst"])
def test_compression_is_told_by_content(compress: Callable[[bytes], bytes], name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(compress(find_trace("swebench").read_bytes()))
    assert list(read_programs(path)) == list(read_programs(find_trace("swebench")))


@pytest.mark.skipif(shutil.which("zstd") is None, reason="needs the zstd command")
def test_reads_what_the_zstd_command_writes(tmp_path: Path) -> None:
    path = tmp_path / "t.zst"
    assert os.spawnlp(os.P_WAIT, "zstd", "zstd", "-q", str(find_trace("bfcl")), "-o", str(path)) == 0
    assert list(read_programs(path)) == list(read_programs(find_trace("bfcl")))


@pytest.mark.parametrize("compress", [gzip.compress, zstd])
def test_a_truncated_archive_is_an_error(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "t"
    whole = compress(find_trace("swebench").read_bytes())
    path.write_bytes(whole[: len(whole) // 2])
    assert error_of(path).startswith(f"{path}: cannot be read after line ")


def test_a_corrupt_gzip_is_an_error(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(find_trace("bfcl").read_bytes()))
    whole[-8:-4] = b"\0\0\0\0"  # the checksum
    path = tmp_path / "t.gz"
    path.write_bytes(whole)
    assert "CRC check failed" in error_of(path)


def test_unreadable_paths_are_trace_errors(tmp_path: Path) -> None:
    assert error_of(tmp_path / "no.jsonl") == f"{tmp_path / 'no.jsonl'}: cannot be read: No such file or directory"
    assert error_of(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"
    with pytest.raises(TraceError, match="cannot be read: No such file"):
        trace_sha256(tmp_path / "no.jsonl")


def test_reads_from_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = gzip.compress(find_trace("bfcl").read_bytes())
    writer = threading.Thread(target=lambda: pipe.write_bytes(content))
    writer.start()
    assert sum(1 for _ in read_programs(find_trace(pipe))) == 100
    writer.join()


def test_a_pipe_is_not_read_again_from_where_it_was_left(tmp_path: Path) -> None:
    """Its beginning is gone, and the rest may well be a valid trace, but another one."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = find_trace("bfcl").read_bytes()

    def write() -> None:
        with suppress(BrokenPipeError):
            pipe.write_bytes(content)

    writer = threading.Thread(target=write)
    writer.start()
    # Checking reads it once, including the header.
    assert check_trace(pipe).programs == 100
    writer.join()
    writer = threading.Thread(target=write)
    writer.start()
    with pytest.raises(TraceError, match="cannot be read: it is a pipe, and is needed more than once; write it to a"):
        list(read_programs(pipe))
    writer.join()


def test_limit_stops_reading(record: dict[str, Any], write_lines: WriteLines) -> None:
    path = write_lines(record, {**record, "program_id": "b"}, b"rubbish")
    assert [program.program_id for program in read_programs(path, limit=2)] == ["a", "b"]
    assert len(list(read_programs(find_trace("bfcl"), limit=1000))) == 100


def test_max_turns_cuts_programs_and_ends_them_properly() -> None:
    whole = list(read_programs(find_trace("bfcl")))
    cut = list(read_programs(find_trace("bfcl"), max_turns=3))
    for before, after in zip(whole, cut, strict=True):
        assert len(after.turns) == min(3, len(before.turns))
        assert after.turns[:-1] == before.turns[: len(after.turns) - 1]
        last, was = after.turns[-1], before.turns[len(after.turns) - 1]
        assert (last.input_tokens, last.kept_tokens, last.output_tokens) == (
            was.input_tokens,
            was.kept_tokens,
            was.output_tokens,
        )
        assert (last.tool, last.tool_s) == (None, 0.0)


@pytest.mark.parametrize("argument", ["limit", "max_turns"])
def test_limits_below_one_are_refused_at_once(argument: str) -> None:
    with pytest.raises(ValueError, match=f"{argument} is 0, expected at least 1"):
        read_programs(find_trace("bfcl"), **{argument: 0})


def test_memory_does_not_grow_with_the_file(record: dict[str, Any], tmp_path: Path) -> None:
    turn = record["turns"][0] | {"tool_s": 0.123456}
    line = {"turns": [turn | {"kept_tokens": 0}] * 400 + record["turns"][1:]}
    path = tmp_path / "large.jsonl"
    with path.open("w") as file:
        file.writelines(json.dumps(line | {"program_id": str(number)}) + "\n" for number in range(150))
    assert path.stat().st_size > 4e6
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_programs(path)) == 150
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2e6


def test_reading_starts_before_the_file_is_at_fault(record: dict[str, Any], write_lines: WriteLines) -> None:
    programs = read_programs(write_lines(record, b"rubbish"))
    assert next(programs).program_id == "a"
    with pytest.raises(TraceError, match=r"t\.jsonl:2: not valid JSON"):
        next(programs)


@pytest.mark.parametrize(
    "name", ["swebench", "swebench.jsonl", "bfcl", "bfcl.jsonl", "swebench-long", "bfcl-long", "openhands-long"]
)
def test_bundled_traces_go_by_name(name: str) -> None:
    path = find_trace(name)
    assert path in bundled_traces().values()
    assert len(list(read_programs(path))) == (97 if name == "swebench-long" else 100)


def test_a_local_file_comes_before_a_bundled_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("swebench.jsonl").write_text("mine")
    (tmp_path / "bfcl").mkdir()
    assert find_trace("swebench.jsonl").read_text() == "mine"
    assert find_trace("swebench") == bundled_traces()["swebench.jsonl"]
    assert find_trace("bfcl") == bundled_traces()["bfcl.jsonl"]


def test_an_unknown_name_lists_the_bundled_ones_and_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(TraceError) as caught:
        find_trace("swebnch")
    assert str(caught.value) == (
        'trace "swebnch" is neither a file here nor a bundled trace, did you mean "swebench.jsonl"? '
        "bundled: bfcl-long.jsonl, bfcl.jsonl, openhands-long.jsonl, swebench-long.jsonl, swebench.jsonl"
    )
    with pytest.raises(TraceError, match=r"is a directory, bundled: bfcl-long\.jsonl, bfcl\.jsonl, "):
        find_trace(tmp_path)


def test_sha256_is_of_the_stored_bytes(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(b"abc")  # the test vector of FIPS 180-2
    assert trace_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_data_card_states_the_hashes_of_the_bundled_files() -> None:
    card = (bundled_traces()["bfcl.jsonl"].parent / "README.md").read_text()
    for name, path in bundled_traces().items():
        assert f"| `{name}` |" in card
        assert trace_sha256(path) in card


SHARED = Path(__file__).parents[3] / "shared" / "traces"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real traces are not on this machine")
def test_the_shared_real_traces_obey_the_rules() -> None:
    figures = {path.name: [len(program.turns) for program in read_programs(path)] for path in SHARED.glob("*.jsonl")}
    assert {name: (len(turns), sum(turns)) for name, turns in figures.items()} == {
        "swebench.jsonl": (100, 3680),
        "claude_code.jsonl": (25, 1150),
        "openhands.jsonl": (3, 105),
    }
    assert (SHARED / "swebench.jsonl").read_bytes() == find_trace("swebench").read_bytes()
