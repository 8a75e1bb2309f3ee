"""ATIF trajectories: which steps are calls, how long gaps are, sub-agents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from continuum_sim.traces import Child, Program, Turn, import_trace, read_header, read_programs
from support.session_logs import atif

Imported = Callable[..., list[Program]]


def test_atif(imported: Imported) -> None:
    (program,) = imported("atif")
    side = Program("job/job-sub-1", (Turn(300, 0, 20, "grep", 3.0), Turn(340, 320, 30)))
    assert program == Program(
        "job",
        (
            # A step without counts belongs to the call before it; gaps run from step to step.
            Turn(700, 0, 60, "bash_command+read_file", 12.0),
            # No time of its own while a sub-agent runs.
            Turn(800, 760, 50, "task", 0.0),
            Turn(860, 850, 40, "human", 60.0),
            Turn(930, 900, 10),
        ),
        0.0,
        None,
        (Child(side, 1, 2),),
    )


def changed(change: Callable[[dict[str, Any]], None]) -> bytes:
    document = json.loads(atif())
    change(document)
    return json.dumps(document).encode()


def test_what_was_copied_was_served_elsewhere(imported: Imported) -> None:
    def change(document: dict[str, Any]) -> None:
        document["steps"][1]["is_copied_context"] = True

    (program,) = imported("atif", changed(change))
    assert [turn.input_tokens for turn in program.turns] == [800, 860, 930]


def test_a_sub_agent_that_no_step_refers_to(imported: Imported) -> None:
    def change(document: dict[str, Any]) -> None:
        del document["steps"][3]["observation"]

    first, second = imported("atif", changed(change))
    assert (first.children, second.program_id, second.arrival_s) == ((), "job/job-sub-1", 22.0)


def test_steps_without_times(tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        del document["subagent_trajectories"]
        for step in document["steps"]:
            del step["timestamp"]

    (tmp_path / "a.json").write_bytes(changed(change))
    made = import_trace([tmp_path / "a.json"], tmp_path / "o.jsonl")
    (program,) = read_programs(tmp_path / "o.jsonl")
    assert program.arrival_s is None
    assert [turn.tool_s for turn in program.turns] == [0, 0, 0, 0]
    assert made.header.notes["steps without times, gap taken as 0 s"] == 3


def test_sums_that_do_not_fit_are_noted(tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["final_metrics"]["total_prompt_tokens"] += 1

    for name, content in (("a", atif()), ("b", changed(change))):
        (tmp_path / f"{name}.json").write_bytes(content)
        import_trace([tmp_path / f"{name}.json"], tmp_path / "o.jsonl")
        header = read_header(tmp_path / "o.jsonl")
        assert header is not None
        assert ("trajectories whose final_metrics are not the sums of their steps" in header.notes) is (name == "b")


def test_arrivals_are_those_of_all_files(tmp_path: Path) -> None:
    for number in (2, 1):
        content = (
            atif().replace(b'"job"', f'"job-{number}"'.encode()).replace(b"2026-04-10T", b"2026-04-%dT" % (10 + number))
        )
        (tmp_path / f"{3 - number}.trajectory.json").write_bytes(content)
    import_trace([tmp_path], tmp_path / "o.jsonl")
    assert [(p.program_id, p.arrival_s) for p in read_programs(tmp_path / "o.jsonl")] == [
        ("job-1", 0.0),
        ("job-2", 86400.0),
    ]


def test_the_case(tmp_path: Path, case: Callable[[str], Path]) -> None:
    import_trace([case("43-atif-trajectory.json")], tmp_path / "o.jsonl")
    (program,) = read_programs(tmp_path / "o.jsonl")
    assert program == Program(
        "s1",
        (
            Turn(680, 0, 60, "bash_command", 12.0),
            Turn(790, 740, 50, "bash_command", 5.0),
            Turn(850, 840, 20),
        ),
        0.0,
    )


def test_an_independent_reader_agrees(imported: Imported) -> None:
    document = json.loads(atif())
    steps = document["steps"] + document["subagent_trajectories"][0]["steps"]
    counts = [(s["metrics"]["prompt_tokens"], s["metrics"]["completion_tokens"]) for s in steps if "metrics" in s]
    (program,) = imported("atif")
    turns = [turn for one in program.family() for turn in one.turns]
    assert sorted((turn.input_tokens, turn.output_tokens) for turn in turns) == sorted(counts)
