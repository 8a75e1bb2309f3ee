"""Traces to share: they contain no original name, and policies see the same as before."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import continuum_sim as cs
from continuum_sim.traces import (
    Child,
    Program,
    SharedPrefix,
    ToolCall,
    TraceHeader,
    Turn,
    anonymize_trace,
    find_trace,
    read_header,
    read_programs,
    tool_label,
    write_programs,
)
from continuum_sim.traces.anonymize import Anonymizer, anonymous_header
from continuum_sim.traces.write import encode_program
from support.cli import cli, printed, refused

SECRET = "acme"
"""In every name of these traces, and in nothing that the product writes of its own."""
FAMILY = Program(
    "acme/fix",
    (
        Turn(100, 0, 20, "acme-grep+acme-cat", 3.5, (ToolCall("acme-grep", 3.5), ToolCall("acme-cat", 0.0))),
        Turn(150, 120, 20, "human", 40.0),
        Turn(200, 170, 20, "acme-grep", 0.2),
        Turn(300, 220, 20),
    ),
    12.25,
    SharedPrefix("acme-system", 50),
    (Child(Program("acme/fix/1", (Turn(40, 0, 5),)), 0, 2),),
)
HEADER = TraceHeader(
    "acme-log",
    measured=("tool_s: of acme's spans", "acme-swe: kept_tokens: by acme", "acme's own"),
    derived=("another size of acme.jsonl: token counts / 8", "kept_tokens: from lengths at acme"),
    missing=("arrival_s", "acme"),
    notes={"sessions of acme": 3},
    files=7,
    skipped=2,
    tokenizer="/home/acme/tokenizer.json",
)


def anonymous(*programs: Program, seed: int = 0) -> list[Program]:
    return list(Anonymizer(np.random.default_rng(seed)).apply(programs))


def members(programs: list[Program]) -> Iterator[Program]:
    for program in programs:
        yield from program.family()


def written(programs: list[Program]) -> str:
    """Return the lines of a file, which can be written only if they keep the format's rules."""
    return b"".join(map(encode_program, programs)).decode()


def grown(rng: random.Random, name: str, depth: int = 0) -> Program:
    """Return a program with a secret in every name, some times of 0, and perhaps sub-agents."""

    def tool_s() -> float:
        return rng.choice((0.0, rng.random() * 1e-3, rng.random() * 30, rng.random() * 1e9))

    turns = [Turn(rng.randint(50, 99), 0, rng.randint(1, 9))]
    for _ in range(rng.randrange(4)):
        calls = [ToolCall(f"{SECRET}-{rng.randrange(9)}", tool_s()) for _ in range(rng.randint(1, 3))]
        label = rng.choice((tool_label(tuple(calls)), f"{SECRET} several"))
        longest_s = max(call.tool_s for call in calls)
        turns.insert(0, Turn(rng.randint(50, 99), 0, 3, label, longest_s, tuple(calls) if len(calls) > 1 else ()))
    last, children = len(turns) - 1, []
    for number in range(rng.randrange(3 - depth)):
        after = rng.randint(0, last)
        join = None if after == last else rng.choice((None, rng.randint(after + 1, last)))
        children.append(Child(grown(rng, f"{name}/{number}", depth + 1), after, join))
    arrival_s = None if depth else rng.choice((None, 0.0, rng.random() * 100, rng.random() * 1e9))
    prefix = rng.choice((None, SharedPrefix(f"{SECRET}-{rng.randrange(3)}", rng.randint(1, 50))))
    return Program(name, tuple(turns), arrival_s, prefix, tuple(children))


@given(draw=st.integers(0, 2**32), seed=st.integers(0, 2**32))
def test_no_name_is_left_and_every_number_is_within_its_bounds(draw: int, seed: int) -> None:
    rng = random.Random(draw)
    programs = [grown(rng, f"{SECRET}-{number}") for number in range(4)]
    assert SECRET in written(programs)
    made = anonymous(*programs, seed=seed)
    assert SECRET not in written(made)
    after = list(members(made))
    before = list(members(programs))
    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        assert [(c.after_turn, c.join_turn) for c in new.children] == [
            (c.after_turn, c.join_turn) for c in old.children
        ]
        assert (new.shared_prefix and new.shared_prefix.tokens) == (old.shared_prefix and old.shared_prefix.tokens)
        if old.arrival_s is None:
            assert new.arrival_s is None
        else:
            assert new.arrival_s is not None
            assert abs(new.arrival_s - old.arrival_s) < 1 + 1e-9 * old.arrival_s
        for was, turn in zip(old.turns, new.turns, strict=True):
            assert (turn.input_tokens, turn.kept_tokens) == (was.input_tokens, was.kept_tokens)
            assert (turn.output_tokens, len(turn.calls)) == (was.output_tokens, len(was.calls))
            for one, call in zip(was.calls, turn.calls, strict=True):
                assert (call.tool_s == 0) == (one.tool_s == 0)
                assert abs(call.tool_s - one.tool_s) <= min(0.5, one.tool_s / 2) * (1 + 1e-9) + 1e-9 * one.tool_s + 1e-6


@given(st.lists(st.floats(0, 1e9) | st.floats(0, 3) | st.integers(0, 5).map(float), max_size=30), st.integers(0, 99))
def test_arrivals_keep_their_order_and_what_came_at_once_still_does(times: list[float], seed: int) -> None:
    programs = [Program(str(n), (Turn(9, 0, 1),), time) for n, time in enumerate(times)]
    made = [program.arrival_s or 0.0 for program in anonymous(*programs, seed=seed)]
    order = sorted(zip(times, made, strict=True))
    assert all(a[1] <= b[1] and (a[0] != b[0] or a[1] == b[1]) for a, b in pairwise(order))
    assert all(-1e-6 <= new - old < 1 and (old or not new) for old, new in order)


def test_times_move() -> None:
    (one,), (other,) = anonymous(FAMILY, seed=1), anonymous(FAMILY, seed=2)
    assert len({12.25, one.arrival_s, other.arrival_s}) == 3
    for at, was_s in ((0, 3.5), (1, 40.0), (2, 0.2)):
        assert len({was_s, one.turns[at].tool_s, other.turns[at].tool_s}) == 3


def test_the_same_name_is_the_same_number() -> None:
    first, again = anonymous(FAMILY, Program("acme/other", FAMILY.turns, 13.0, FAMILY.shared_prefix))
    assert [member.program_id for member in first.family()] == ["program-1", "program-1/1"]
    assert again.program_id == "program-2"
    assert first.shared_prefix == again.shared_prefix == SharedPrefix("prefix-1", 50)
    assert [turn.tool for turn in first.turns] == ["tool-1+tool-2", "human", "tool-1", None]
    assert [turn.tool for turn in again.turns] == [turn.tool for turn in first.turns]
    assert first.turns[0].tool == tool_label(first.turns[0].tools)
    assert first.turns[0].tools[1].tool_s == 0


def test_of_a_header_our_own_words_are_left() -> None:
    made = anonymous_header(HEADER)
    assert (made.format, made.files, made.skipped) == ("continuum", 7, 2)
    assert (made.tokenizer, dict(made.notes)) == (None, {})
    assert made.measured == ("tool_s", "kept_tokens")
    assert made.derived[:-1] == ("kept_tokens",)
    assert made.missing == ("arrival_s",)
    known = TraceHeader("mooncake", missing=("shared_prefix", "names of tools: delay"))
    assert anonymous_header(known).format == "mooncake"
    assert anonymous_header(known).missing == known.missing


def test_no_name_is_left_in_a_file(tmp_path: Path) -> None:
    write_programs(tmp_path / "acme.jsonl", [FAMILY], HEADER)
    assert anonymize_trace(tmp_path / "acme.jsonl", tmp_path / "out.jsonl") == 1
    assert SECRET not in (tmp_path / "out.jsonl").read_text()
    assert read_header(tmp_path / "out.jsonl") == anonymous_header(HEADER)


def test_a_seed_alone_does_not_give_the_times_back(tmp_path: Path) -> None:
    """Otherwise anyone with the trace could undo what the default seed did."""
    other = Program("acme/other", FAMILY.turns, 30.0)
    for name, programs in {"a": [FAMILY, other], "b": [FAMILY, Program("acme/else", FAMILY.turns, 30.0)]}.items():
        write_programs(tmp_path / f"{name}.jsonl", programs)
        anonymize_trace(tmp_path / f"{name}.jsonl", tmp_path / f"{name}.out")
    a, b = (next(read_programs(tmp_path / f"{name}.out")) for name in "ab")
    assert a.program_id == b.program_id
    assert a.arrival_s != b.arrival_s
    assert a.turns != b.turns


def test_the_command_writes_the_same_bytes_for_a_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outs = [tmp_path / name for name in ("a.jsonl", "b.jsonl", "c.jsonl")]
    for out, seed in zip(outs, (3, 3, 4), strict=True):
        said = printed(capsys, "trace", "anonymize", "swebench", "-o", out, "--seed", seed)
        assert said == f"{out}: 100 programs, seed {seed}\n"
    a, b, c = (out.read_bytes() for out in outs)
    assert a == b != c
    assert anonymize_trace(find_trace("swebench"), tmp_path / "d.jsonl", seed=3) == 100
    assert (tmp_path / "d.jsonl").read_bytes() == a
    assert "--seed is -1, expected at least 0" in refused(
        capsys, "trace", "anonymize", "bfcl", "-o", outs[0], "--seed", -1
    )
    code, _, _ = cli(capsys, "trace", "check", outs[0])
    assert code == 0


@pytest.mark.parametrize("name", ["swebench", "bfcl"])
def test_no_name_of_a_bundled_trace_is_left(name: str, tmp_path: Path) -> None:
    anonymize_trace(find_trace(name), tmp_path / "out.jsonl")
    said = (tmp_path / "out.jsonl").read_text()
    for member in members(list(read_programs(find_trace(name)))):
        assert json.dumps(member.program_id) not in said
        assert all(json.dumps(turn.tool) not in said for turn in member.turns if turn.tool is not None)
    assert read_header(tmp_path / "out.jsonl") is not None


@pytest.mark.parametrize("policy", ["lru", "ttl"])
def test_a_run_gives_about_the_same(policy: str, tmp_path: Path) -> None:
    anonymize_trace(find_trace("swebench"), tmp_path / "out.jsonl")
    settings = {"policy": policy, "rate": 0.04, "limit": 20}
    was, now = (cs.run(trace, **settings).summary for trace in ("swebench", tmp_path / "out.jsonl"))  # type: ignore[arg-type]
    assert now.jct_s.mean == pytest.approx(was.jct_s.mean, rel=0.01)
    assert (now.turns, now.prefill.computed_tokens) == (was.turns, pytest.approx(was.prefill.computed_tokens, rel=0.02))
