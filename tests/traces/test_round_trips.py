"""Exporting and importing gives the same trace."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from continuum_sim.traces import (
    Child,
    Program,
    ToolCall,
    TraceError,
    export_trace,
    find_trace,
    import_trace,
    read_programs,
)
from continuum_sim.traces.exporters import EXPORTERS
from support.programs import program, turn
from support.strategies import traces

SHARED = Path(__file__).parents[2] / "../shared/traces"


def round_trip(programs: list[Program], to: str, folder: Path, block_size: int | None = None) -> list[Program]:
    out = folder / ("w" if to == "weka" else "x.jsonl")
    assert export_trace(programs, to, out, block_size=block_size) == len(programs)
    made = import_trace([out], folder / "back.jsonl")
    assert made.format == to
    return list(read_programs(folder / "back.jsonl"))


@pytest.mark.parametrize("to", sorted(EXPORTERS.load()))
@pytest.mark.parametrize("name", ["swebench", "bfcl"])
def test_bundled_traces(tmp_path: Path, to: str, name: str) -> None:
    programs = list(read_programs(find_trace(name), limit=20))
    assert round_trip(programs, to, tmp_path) == programs


@pytest.mark.parametrize("to", sorted(EXPORTERS.load()))
@pytest.mark.parametrize("name", ["swebench", "claude_code", "openhands"])
def test_recorded_traces(tmp_path: Path, to: str, name: str) -> None:
    path = SHARED / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    programs = list(read_programs(path, limit=5))
    assert round_trip(programs, to, tmp_path) == programs


@pytest.mark.parametrize("to", sorted(EXPORTERS.load()))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(programs=traces(), block_size=st.integers(1, 32))
def test_any_trace(tmp_path_factory: pytest.TempPathFactory, to: str, programs: list[Program], block_size: int) -> None:
    assert round_trip(programs, to, tmp_path_factory.mktemp("x"), block_size) == programs


@pytest.mark.parametrize("to", sorted(EXPORTERS.load()))
def test_families_and_tools_at_once(tmp_path: Path, to: str) -> None:
    grandchild = program("g", turn(30, 3, gap=0.1), turn(50, 2), at=None)
    child = replace(program("c", turn(20, 3, gap=0.1), turn(40, 2), at=None), children=(Child(grandchild, 0, 1),))
    other = program("o", turn(5, 1), at=None, shared=("s", 4))
    main = program("a", turn(10, 3, gap=0.25), turn(20, 2, gap=2.0), turn(30, 2), at=1.5, shared=("s", 8))
    several = replace(main.turns[1], tool="x+y", tools=(ToolCall("x", 2.0), ToolCall("y", 0.5)))
    main = replace(
        main,
        turns=(main.turns[0], several, main.turns[2]),
        children=(Child(child, 1, 2), Child(other, 0, None)),
    )
    programs = [main, program("b", turn(9, 1), at=2.0)]
    assert round_trip(programs, to, tmp_path) == programs


def test_other_readers_see_sub_agents(tmp_path: Path) -> None:
    child = program("c", turn(20, 3), at=None)
    main = replace(program("a", turn(10, 3, gap=0.25), turn(20, 2)), children=(Child(child, 0, 1),))
    for to in ("mooncake", "aiperf"):
        export_trace([main], to, tmp_path / to)
        assert {row["session_id"] for row in rows(tmp_path / to)} == {"a", "c"}
    export_trace([main], "weka", tmp_path / "w")
    (path,) = (tmp_path / "w").iterdir()
    requests = json.loads(path.read_text())["requests"]
    assert [request["type"] for request in requests] == ["n", "subagent", "n"]
    assert [request["in"] for request in requests[1]["requests"]] == [20]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_mooncake_rows(tmp_path: Path) -> None:
    one = program("a", turn(10, 3, gap=0.25), turn(20, 2), at=1.5, shared=("s", 8))
    other = program("b", turn(9, 1), at=2.0, shared=("s", 6))
    export_trace([one, other], "mooncake", tmp_path / "x.jsonl", block_size=4)
    first, second, third = rows(tmp_path / "x.jsonl")
    assert first["timestamp"] == 1500.0
    assert second["delay"] == 250.0
    assert (second["input_length"], second["output_length"]) == (20, 2)
    # 13 kept tokens are three whole blocks, one of them the last of the first prompt, which was half full before.
    assert first["hash_ids"][:3] == second["hash_ids"][:3]
    assert (len(first["hash_ids"]), len(second["hash_ids"])) == (3, 5)
    # 6 shared tokens are one whole block.
    assert third["hash_ids"][0] == first["hash_ids"][0]
    assert third["hash_ids"][1] != first["hash_ids"][1]


def test_aiperf_rows(tmp_path: Path) -> None:
    export_trace([program("a", turn(10, 3, gap=0.25), turn(20, 2), at=1.5)], "aiperf", tmp_path / "x.jsonl")
    (row,) = rows(tmp_path / "x.jsonl")
    first, second = row["turns"]
    assert (len(first["text"].split()), first["output_length"], first["timestamp"]) == (10, 3, 1500.0)
    assert (len(second["text"].split()), second["output_length"], second["delay"]) == (7, 2, 250.0)
    assert "timestamp" not in second
    assert "delay" not in first


def test_weka_documents(tmp_path: Path) -> None:
    export_trace([program("a/b", turn(130, 3, gap=2.0), turn(200, 2))], "weka", tmp_path / "w")
    (path,) = (tmp_path / "w").iterdir()
    assert path.name == "000001-a_b.json"
    document = json.loads(path.read_text())
    first, second = document["requests"]
    assert (document["id"], document["block_size"]) == ("a/b", 64)
    assert (first["in"], first["out"], len(first["hash_ids"])) == (130, 3, 2)
    assert second["hash_ids"][:2] == first["hash_ids"]
    assert (second["t"], second["think_time"]) == (2.0, 2.0)


def test_an_edited_delay_holds(tmp_path: Path) -> None:
    export_trace([program("a", turn(10, 3, gap=0.25), turn(20, 2))], "mooncake", tmp_path / "x.jsonl")
    edited = (tmp_path / "x.jsonl").read_text().replace('"delay":250.0', '"delay":900.0')
    (tmp_path / "x.jsonl").write_text(edited)
    import_trace([tmp_path / "x.jsonl"], tmp_path / "back.jsonl")
    (back,) = read_programs(tmp_path / "back.jsonl")
    assert back.turns[0].tool_s == 0.9


@pytest.mark.parametrize("to", sorted(EXPORTERS.load()))
def test_nothing_is_left_of_an_export_that_fails(tmp_path: Path, to: str) -> None:
    with pytest.raises(TraceError, match="no program to write"):
        export_trace([], to, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="exists already, expected a new folder"):
        export_trace([program("a", turn(1, 1))], "weka", tmp_path)


def test_unknown_formats(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"unknown format 'mooncak', did you mean 'mooncake'\?"):
        export_trace([], "mooncak", tmp_path / "x")
