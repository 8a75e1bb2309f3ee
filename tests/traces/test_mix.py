"""Mixes: whose programs, how many of each, and that nothing of them is lost or confused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from continuum_sim.traces import (
    Child,
    Program,
    SharedPrefix,
    TraceError,
    Turn,
    check_trace,
    mix_traces,
    read_header,
    read_programs,
    write_programs,
)
from continuum_sim.traces.mix import parse_weighted


def trace(folder: Path, name: str, programs: int, *, prefix: str | None = "system") -> Path:
    """Write a trace of programs that can be identified by their first prompts."""
    shared = None if prefix is None else SharedPrefix(prefix, 50)
    write_programs(
        folder / name,
        (Program(f"p{number}", (Turn(100 + number, 0, 5),), float(number), shared) for number in range(programs)),
    )
    return folder / name


def test_a_mix_has_the_shares_asked_for(tmp_path: Path) -> None:
    a, b = trace(tmp_path, "a.jsonl", 50), trace(tmp_path, "b.jsonl.gz", 50)
    made = mix_traces([(a, 0.7), (b, 0.3)], tmp_path / "m.jsonl", programs=20, seed=1)
    programs = list(read_programs(tmp_path / "m.jsonl"))
    assert Counter(program.program_id.split(":")[0] for program in programs) == {"a": 14, "b": 6}
    assert [part.programs for part in made.parts] == [14, 6]
    # From each trace in its own order, and not just the first ones.
    numbers = [int(program.program_id[3:]) for program in programs if program.program_id[0] == "a"]
    assert numbers == sorted(set(numbers))
    assert numbers != list(range(14))
    # In random order: b's programs are not all at the end.
    assert [program.program_id[0] for program in programs] != ["a"] * 14 + ["b"] * 6


def test_programs_stay_what_they_are(tmp_path: Path) -> None:
    child = Program("sub", (Turn(10, 0, 2),), None, SharedPrefix("tools", 4))
    family = Program(
        "p0", (Turn(100, 0, 5, "task", 1.0), Turn(120, 105, 9)), 3.0, SharedPrefix("system", 50), (Child(child, 0, 1),)
    )
    write_programs(tmp_path / "a.jsonl", [family])
    mix_traces([(tmp_path / "a.jsonl", 1), (trace(tmp_path, "b.jsonl", 1), 1)], tmp_path / "m.jsonl")
    (mine,) = (one for one in read_programs(tmp_path / "m.jsonl") if one.program_id.startswith("a:"))
    renamed = Program("a:sub", child.turns, None, SharedPrefix("a:tools", 4))
    assert mine == Program("a:p0", family.turns, None, SharedPrefix("a:system", 50), (Child(renamed, 0, 1),))


def test_traces_share_no_prefix_and_copies_do(tmp_path: Path) -> None:
    a, b = trace(tmp_path, "a.jsonl", 2), trace(tmp_path, "b.jsonl", 2)
    mix_traces([(a, 1), (b, 1)], tmp_path / "m.jsonl", programs=10)
    programs = {one.program_id: one for one in read_programs(tmp_path / "m.jsonl")}
    # All of them twice, and one of each a third time.
    assert {"a:p0", "a:p1", "a:p0#2", "a:p1#2", "b:p0#2"} < programs.keys()
    assert sum(name.endswith("#3") for name in programs) == 2
    assert programs["a:p0#2"].turns == programs["a:p0"].turns
    assert {one.shared_prefix.id for one in programs.values() if one.shared_prefix} == {"a:system", "b:system"}


def test_as_many_as_there_can_be_without_a_copy(tmp_path: Path) -> None:
    a, b = trace(tmp_path, "a.jsonl", 30), trace(tmp_path, "b.jsonl", 100)
    made = mix_traces([(a, 3), (b, 1)], tmp_path / "m.jsonl")
    assert [part.programs for part in made.parts] == [30, 10]


def test_two_files_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    a, b = trace(tmp_path, "a.jsonl", 1), trace(tmp_path / "x", "a.jsonl", 1)
    mix_traces([(a, 1), (b, 1)], tmp_path / "m.jsonl")
    assert {one.program_id for one in read_programs(tmp_path / "m.jsonl")} == {"a:p0", "a-2:p0"}


def test_the_header_says_where_programs_come_from(tmp_path: Path) -> None:
    a, b = trace(tmp_path, "a.jsonl", 4), trace(tmp_path, "b.jsonl", 4)
    mix_traces([(a, 1), (b, 1)], tmp_path / "m.jsonl", seed=7)
    mix_traces([(tmp_path / "m.jsonl", 1), ("bfcl", 1)], tmp_path / "n.jsonl", programs=6)
    header = read_header(tmp_path / "n.jsonl")
    assert header is not None
    assert header.format == "mixed"
    assert any(item.startswith("m: 3 programs of the 8 of m.jsonl (share 0.5, SHA-256 ") for item in header.derived)
    assert any(item.startswith("m: b: 4 programs of the 4 of b.jsonl") for item in header.derived)
    assert "arrival_s: the traces have no clock in common" in header.missing


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    a, b = trace(tmp_path, "a.jsonl", 40), trace(tmp_path, "b.jsonl", 40)
    for name, seed in (("1", 5), ("2", 5), ("3", 6)):
        mix_traces([(a, 1), (b, 2)], tmp_path / f"{name}.jsonl", programs=30, seed=seed)
    first, again, other = ((tmp_path / f"{name}.jsonl").read_bytes() for name in "123")
    assert first == again
    assert first.split(b"\n", 1)[1] != other.split(b"\n", 1)[1]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    weights=st.lists(st.floats(0.1, 10), min_size=4, max_size=4),
    programs=st.integers(1, 40),
    seed=st.integers(0, 2**32),
)
def test_any_mix_is_a_trace_of_that_size(
    tmp_path: Path, sizes: list[int], weights: list[float], programs: int, seed: int
) -> None:
    weighted = [(trace(tmp_path, f"t{n}.jsonl", size), weights[n]) for n, size in enumerate(sizes)]
    try:
        made = mix_traces(weighted, tmp_path / "m.jsonl", programs=programs, seed=seed)
    except TraceError as error:
        if "gets no program" not in str(error):
            raise
        return
    assert check_trace(tmp_path / "m.jsonl").programs == made.programs == programs
    for part in made.parts:
        assert abs(part.programs - part.share * programs) < 1
    found = Counter(one.program_id.rpartition("#")[0] or one.program_id for one in read_programs(tmp_path / "m.jsonl"))
    for part in made.parts:
        times = [found[f"{part.name}:p{n}"] for n in range(part.available)]
        assert max(times) - min(times) <= 1


@pytest.mark.parametrize(
    ("weighted", "options", "message"),
    [
        ([], {}, "no trace to mix"),
        ([("bfcl", 0.0)], {}, "the weight of bfcl.jsonl is 0, expected a number above 0"),
        ([("bfcl", float("nan"))], {}, "the weight of bfcl.jsonl is nan"),
        ([("bfcl", 1), ("bfcl.jsonl", 2)], {}, "bfcl.jsonl appears twice"),
        ([("bfcl", 1), ("swebench", 1000)], {"programs": 10}, "bfcl.jsonl gets no program of 10"),
        ([("bfcl", 1)], {"programs": 0}, "programs is 0"),
        ([("bfc", 1)], {}, 'trace "bfc" is neither a file here'),
    ],
)
def test_what_cannot_be_mixed(
    tmp_path: Path, weighted: list[tuple[str, float]], options: dict[str, int], message: str
) -> None:
    with pytest.raises(TraceError, match=message):
        mix_traces(weighted, tmp_path / "m.jsonl", **options)
    assert not list(tmp_path.iterdir())


def test_weights_as_they_are_typed(tmp_path: Path) -> None:
    assert parse_weighted("a.jsonl:0.7") == ("a.jsonl", 0.7)
    assert parse_weighted("a.jsonl") == ("a.jsonl", 1.0)
    (tmp_path / "b:2").touch()
    assert parse_weighted(str(tmp_path / "b:2")) == (str(tmp_path / "b:2"), 1.0)
    with pytest.raises(TraceError, match="the weight is 'much', expected a number above 0, as in a:0.7"):
        parse_weighted("a:much")
