"""What an import reports of itself: what its files had measured, what is odd in them, why they held no program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces import TraceError, check_trace, import_trace, read_programs
from continuum_sim.traces.decode import decode_program
from continuum_sim.traces.importers import Imported
from continuum_sim.traces.importers.head import head_of
from continuum_sim.traces.importers.in_order import in_order
from continuum_sim.traces.importers.known import KNOWN, name_known
from continuum_sim.traces.plausible import Plausibility
from continuum_sim.traces.schema import Program, Turn
from support.cli import cli, printed, refused
from support.logs import NEED_TOKENIZER, SAMPLES, word_tokenizer


def openai_calls(*times: tuple[float, float] | None) -> str:
    """Return a log of one conversation with calls at these times, or without any."""
    lines: list[dict[str, Any]] = []
    for number, time in enumerate(times):
        call = {"function": {"name": "shell"}}
        line: dict[str, Any] = {
            "session_id": "s",
            "request": {"messages": []},
            "response": {
                "choices": [{"message": {"tool_calls": [call]}}],
                "usage": {"prompt_tokens": 100 * (number + 1), "completion_tokens": 9},
            },
        }
        if time is not None:
            line["start_time"], line["end_time"] = time
        lines.append(line)
    return "\n".join(map(json.dumps, lines))


def made_of(tmp_path: Path, content: str, **options: Any) -> Imported:
    (tmp_path / "log.jsonl").write_text(content)
    return import_trace([tmp_path / "log.jsonl"], tmp_path / "out.jsonl", **options)


def test_a_file_without_times_claims_none(tmp_path: Path) -> None:
    header = made_of(tmp_path, openai_calls(None, None, None)).header
    assert not [entry for entry in header.measured if entry.startswith(("tool_s", "arrival_s"))]
    assert "tool_s: no times in these files, 0 everywhere" in header.missing
    assert "arrival_s: no times in these files" in header.missing


def test_a_file_with_times_claims_them(tmp_path: Path) -> None:
    header = made_of(tmp_path, openai_calls((0.0, 1.0), (3.0, 4.0))).header
    assert [entry.partition(":")[0] for entry in header.measured] == [
        "input_tokens and output_tokens",
        "tool_s",
        "tool",
        "arrival_s",
    ]
    assert not [entry for entry in header.missing if entry.startswith(("tool_s", "arrival_s", "tool:"))]


@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_is_claimed_twice(tmp_path: Path, name: str) -> None:
    file, sample = SAMPLES[name]
    (tmp_path / file).write_bytes(sample)
    tokenizer = word_tokenizer(tmp_path) if name in NEED_TOKENIZER else None
    header = import_trace([tmp_path / file], tmp_path / "out.jsonl", format=name, tokenizer=tokenizer).header
    programs = list(read_programs(tmp_path / "out.jsonl"))
    measured = {
        field for entry in header.measured for field in entry.partition(":")[0].partition(" (")[0].split(" and ")
    }
    missing = {entry.partition(":")[0] for entry in header.missing}
    assert not measured & missing
    assert ("arrival_s" in measured) <= any(program.arrival_s is not None for program in programs)
    derived = {entry.partition(":")[0] for entry in header.derived}
    assert ("shared_prefix" in derived) <= any(p.shared_prefix for program in programs for p in program.family())
    assert ("children" in derived) <= any(program.children for program in programs)


@pytest.mark.parametrize(
    ("turn", "doubt"),
    [
        (Turn(100, 0, 20, "Bash", 0.009), "1 of 1 gaps of a shell are below 10 ms, so gaps were hardly measured"),
        (
            Turn(100, 0, 1, "Write", 1.0),
            "1 of 1 outputs that call a tool have one token, so outputs were hardly measured",
        ),
        (
            Turn(10_485_760, 0, 1, "human", 0.0),
            "1 contexts are longer than any model's window of 10,485,760",
        ),
        (Turn(100, 0, 20, "Read+human", 30.0), "100% of the time in gaps is human"),
        (Turn(100, 0, 20, "Bash", 0.011), "nothing odd"),
    ],
)
def test_what_can_hardly_be_true_is_named(turn: Turn, doubt: str) -> None:
    found = Plausibility()
    found.take(Program("p", (turn, Turn(20, 0, 1))))
    assert found.doubts == doubt


def test_the_longest_context_says_what_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = made_of(tmp_path, openai_calls((0.0, 1.0), (3.0, 4.0)))
    assert (made.plausibility.longest_context_tokens, made.plausibility.input_tokens) == (209, 300)
    assert check_trace(made.path).plausibility == made.plausibility
    said = "longest context 209 tokens (s, turn 1): the model length it needs"
    assert said in printed(capsys, "trace", "check", str(made.path))
    out = printed(capsys, "trace", "import", str(tmp_path / "log.jsonl"), "-o", str(tmp_path / "again.jsonl"))
    assert f"tokens    300 of prompts, 18 of outputs; {said}" in out
    assert "plausible nothing odd" in out
    _, out, _ = cli(capsys, "trace", "check", str(made.path), "--json")
    assert json.loads(out)["plausibility"]["longest_turn"] == 1


def test_several_users_keep_their_concurrency(tmp_path: Path) -> None:
    for user, start in (("b", 1_700_000_100.0), ("a", 1_700_000_160.0), ("c", 1_700_000_000.0)):
        (tmp_path / user).mkdir()
        message = {"role": "assistant", "content": "", "extra": {"timestamp": start, "response": {"usage": {}}}}
        message["extra"]["response"]["usage"] = {"prompt_tokens": 10, "completion_tokens": 5}  # type: ignore[index]
        info = {"mini_version": "2.2.0"}
        (tmp_path / user / f"{user}.traj.json").write_text(json.dumps({"info": info, "messages": [message]}))
    import_trace([tmp_path / user for user in "abc"], tmp_path / "out.jsonl")
    arrivals = [(program.program_id, program.arrival_s) for program in read_programs(tmp_path / "out.jsonl")]
    assert arrivals == [("c", 0.0), ("b", 100.0), ("a", 160.0)]


def test_order_of_arrival_keeps_short_clocks_and_what_has_no_time() -> None:
    programs = [Program(str(i), (Turn(1, 0, 1),), at) for i, at in enumerate([None, 5.5, None, 2.0, 2.0])]
    assert [(p.program_id, p.arrival_s) for p in map(decode_program, in_order(programs))] == [
        ("0", None),
        ("2", None),
        ("3", 2.0),
        ("4", 2.0),
        ("1", 5.5),
    ]


def test_nothing_left_is_said_of_the_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"id": "a", "result": "Error during inference: timeout"}
    (tmp_path / "BFCL_x_result.json").write_text("\n".join([json.dumps(failed)] * 2))
    file = tmp_path / "BFCL_x_result.json"
    line = refused(capsys, "trace", "import", "--from", "bfcl", str(file), "-o", str(tmp_path / "out.jsonl"))
    assert line == (
        f"error: {file}: no program in it, read as bfcl: entries that failed during inference, left out: 2\n"
    )


EXAMPLES = {
    "Parquet": b"PAR1\x15\x04",
    "SQLite": b"SQLite format 3\x00\x10",
    "Langfuse": b'[{"id": "o1", "traceId": "t1", "parentObservationId": null, "type": "GENERATION"}]',
    "LangSmith": b'{"id": "r", "run_type": "llm", "dotted_order": "2026", "inputs": {}}',
    "OTLP metrics": b'{"resourceMetrics": []}',
    "Jaeger": b'{"data": [{"traceID": "1", "spans": [{"traceID": "1", "spanID": "2", "operationName": "chat"}]}]}',
    "Zipkin": b'[{"traceId": "1", "id": "2", "localEndpoint": {"serviceName": "a"}}]',
    "MLflow": b'{"spans": [{"trace_id": "1", "span_id": "2", "attributes": {"mlflow.spanType": "LLM"}}]}',
    "AIPerf's dag": b'{"session_id": "a", "turns": [{"text": "x", "forks": ["b"]}]}',
    "ShareGPT": b'[{"id": "a", "conversations": [{"from": "human", "value": "hi"}]}]',
    "chat messages": b'{"messages": [{"role": "user", "content": "hi"}]}',
    "Perfetto": b'{"traceEvents": [{"ph": "X"}]}',
    "Prometheus": b"# HELP vllm:num_requests_running Number\n# TYPE vllm:num_requests_running gauge\n",
    "Continuum": b'{"job": [{"Request_arrival_time": 1.0}]}',
    "SWE-agent 0.x": b'{"trajectory": [{"action": "ls"}], "history": []}',
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_known_format_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.json").write_bytes(EXAMPLES[name])
    with pytest.raises(TraceError, match=name) as caught:
        import_trace([tmp_path / "a.json"], tmp_path / "out.jsonl")
    assert "which no importer reads: " in str(caught.value)


def test_every_known_format_has_an_example_and_hides_no_importer() -> None:
    assert len(EXAMPLES) == len(KNOWN)
    told = {name: name_known(head_of(sample)) for name, (_, sample) in SAMPLES.items()}
    assert not {name for name, known in told.items() if known}, told
