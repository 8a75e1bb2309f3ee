"""OTLP logs of four agents: what counts as the prompt, when a request began, what fills a gap."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces import Child, Program, TraceError, Turn, import_trace, read_programs
from continuum_sim.traces.importers import detect
from continuum_sim.traces.importers.head import head_of
from support.agent_logs import lines
from support.session_logs import T0, exported_logs, log_event, otel_logs, stamp

Imported = Callable[..., list[Program]]


def numbers(program: Program) -> list[tuple[int, int, int, str | None]]:
    return [(turn.input_tokens, turn.kept_tokens, turn.output_tokens, turn.tool) for turn in program.turns]


def test_claude_code(imported: Imported) -> None:
    main, side = imported("otel-logs")
    # Tokens written to the cache and tokens read from it are counted apart.
    assert numbers(main) == [
        (18010, 0, 300, "Read+Bash"),
        (18410, 18310, 200, "Task"),
        (18910, 18610, 150, "human"),
        (19210, 19060, 90, None),
    ]
    # From the first tool's start (5.5) to the last one's end; 0 while a sub-agent runs; to the next request.
    assert [turn.tool_s for turn in main.turns] == pytest.approx([3.5, 0.0, 29.5, 0.0])
    (child,) = main.children
    assert (child.after_turn, child.join_turn) == (1, 2)
    assert numbers(child.program) == [(900, 0, 60, "Grep"), (1000, 960, 80, None)]
    assert (side.program_id, numbers(side)) == ("s-1/side-1", [(300, 0, 12, None)])
    assert main.arrival_s == pytest.approx(0.2)


def test_a_sub_agent_that_runs_on(imported: Imported) -> None:
    text = otel_logs().replace(b'"api_request"', b'"api_request"')
    rows = [json.loads(line) for line in text.splitlines()]
    records = rows[1]["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    records[3]["timeUnixNano"] = str(int((T0 + 40.0) * 1e9))
    (main, _) = imported("otel-logs", lines(*rows))
    assert main.children[0].join_turn is None


def test_a_record_that_is_not_as_it_should_be_leaves_the_others_as_they_are(imported: Imported) -> None:
    rows = [json.loads(line) for line in otel_logs().splitlines()]
    for one in rows:
        one["resourceLogs"][0]["scopeLogs"][0]["logRecords"] += [{"attributes": [{"key": 5}, 7]}, "odd"]
    assert imported("otel-logs", lines(*rows)) == imported("otel-logs")


def test_one_document_and_names_in_snake_case(imported: Imported) -> None:
    rows = [json.loads(line) for line in otel_logs().splitlines()]
    whole = {"resourceLogs": [one for row in rows for one in row["resourceLogs"]]}
    assert imported("otel-logs", json.dumps(whole, indent=2).encode()) == imported("otel-logs")
    snake = otel_logs()
    for camel, other in (
        (b"resourceLogs", b"resource_logs"),
        (b"scopeLogs", b"scope_logs"),
        (b"logRecords", b"log_records"),
        (b"timeUnixNano", b"time_unix_nano"),
        (b"stringValue", b"string_value"),
        (b"intValue", b"int_value"),
    ):
        snake = snake.replace(camel, other)
    assert imported("otel-logs", snake) == imported("otel-logs")


def codex_logs() -> list[dict[str, Any]]:
    common = {"conversation__id": "c-1", "model": "m"}

    def done(at: float, prompt: int, output: int, cached: int) -> list[dict[str, Any]]:
        counts = {"input_token_count": str(prompt), "output_token_count": str(output), "cached_token_count": cached}
        event = {"event__kind": "response.completed", "event__timestamp": stamp(at), **common, **counts}
        # The same event, once for the log and once for the trace.
        return [log_event("codex.sse_event", at, **event), log_event("codex.sse_event", at + 0.001, **event)]

    return [
        log_event("codex.conversation_starts", 0.0, **common),
        log_event("codex.user_prompt", 0.1, prompt="secret", **common),
        log_event("codex.api_request", 1.0, duration_ms="800", attempt=0, **common),
        log_event("codex.sse_event", 2.0, event__kind="response.output_item.done", duration_ms="3", **common),
        *done(5.0, 7000, 250, 0),
        log_event("codex.tool_result", 9.0, tool_name="shell", call_id="t1", duration_ms="3900", **common),
        log_event("codex.tool_result", 9.0, tool_name="shell", call_id="t1", duration_ms="3900", **common),
        log_event("codex.api_request", 9.6, duration_ms="500", attempt=0, **common),
        *done(12.0, 7400, 90, 7168),
        log_event("codex.user_prompt", 40.0, prompt="secret", **common),
        log_event("codex.api_request", 41.0, duration_ms="500", attempt=0, **common),
        *done(44.0, 7600, 30, 7168),
    ]


def test_codex(imported: Imported) -> None:
    (program,) = imported("otel-logs", lines(exported_logs(*codex_logs(), service__name="codex_cli_rs")))
    assert program.program_id == "c-1"
    assert numbers(program) == [(7000, 0, 250, "shell"), (7400, 7250, 90, "human"), (7600, 7490, 30, None)]
    assert [turn.tool_s for turn in program.turns] == pytest.approx([3.9, 28.5, 0.0], abs=2e-3)


def gemini_logs() -> list[dict[str, Any]]:
    def response(at: float, prompt: int, output: int, thoughts: int, cached: int) -> list[dict[str, Any]]:
        counts = {
            "input_token_count": prompt,
            "output_token_count": output,
            "thoughts_token_count": thoughts,
            "cached_content_token_count": cached,
            "tool_token_count": 0,
        }
        common = {"session__id": "g-1", "prompt_id": "g-1########0"}
        generic = {"gen_ai__usage__input_tokens": prompt, "gen_ai__usage__output_tokens": output}
        return [
            log_event("gemini_cli.api_response", at, "API response", duration_ms=3000, **counts, **common),
            log_event("gen_ai.client.inference.operation.details", at, "GenAI operation", **generic, **common),
        ]

    return [
        log_event("gemini_cli.user_prompt", 0.0, prompt_length=6, session__id="g-1"),
        *response(4.0, 12000, 350, 420, 0),
        log_event("gemini_cli.tool_call", 6.0, function_name="read_file", duration_ms=500, session__id="g-1"),
        *response(10.0, 12500, 40, 0, 12000),
    ]


def gemini_outfile() -> bytes:
    """The same as written by Gemini CLI itself: the records of its SDK in sequence, over several lines."""
    found = []
    for record in gemini_logs():
        held = {item["key"]: next(iter(item["value"].values())) for item in record["attributes"]}
        counts = {key: int(value) if value.isdigit() else value for key, value in held.items()}
        whole, rest = divmod(int(record["timeUnixNano"]), 10**9)
        found.append({"hrTime": [whole, rest], "resource": {"attributes": {}}, "attributes": counts})
    return b"".join(json.dumps(one, indent=2).encode() + b"\n" for one in found)


@pytest.mark.parametrize("content", [lines(exported_logs(*gemini_logs())), gemini_outfile()])
def test_gemini_cli(imported: Imported, content: bytes) -> None:
    (program,) = imported("otel-logs", content)
    # Thoughts are apart from the output, and each response occurs once.
    assert numbers(program) == [(12000, 0, 770, "read_file"), (12500, 12000, 40, None)]
    assert program.turns[0].tool_s == pytest.approx(0.5)
    assert detect(head_of(content))[0].name == "otel-logs"


def test_copilot(imported: Imported) -> None:
    def response(at: float, prompt: int, output: int) -> dict[str, Any]:
        counts = {"gen_ai__usage__input_tokens": prompt, "gen_ai__usage__output_tokens": output}
        return log_event("gen_ai.client.inference.operation.details", at, "GenAI inference: m", **counts)

    tool = log_event("copilot_chat.tool.call", 8.0, gen_ai__tool__name="readFile", duration_ms=2500.0, success="true")
    content = lines(exported_logs(response(5.0, 3000, 70), tool, response(12.0, 3200, 60), session__id="v-1"))
    (program,) = imported("otel-logs", content)
    assert (program.program_id, numbers(program)) == ("v-1", [(3000, 0, 70, "readFile"), (3200, 3070, 60, None)])
    assert program.turns[0].tool_s == pytest.approx(2.5)


def test_the_case(tmp_path: Path, case: Callable[[str], Path]) -> None:
    import_trace([case("49-otlp-agent-logs.json")], tmp_path / "o.jsonl")
    (program,) = read_programs(tmp_path / "o.jsonl")
    assert numbers(program) == [(20012, 0, 200, "Bash"), (20452, 20212, 200, None)]
    assert program.turns[0].tool_s == pytest.approx(4.8)


def test_a_prompt_without_counts_is_named(imported: Imported) -> None:
    record = log_event("api_request", 1.0, "claude_code.api_request", session__id="s", output_tokens=4)
    with pytest.raises(TraceError, match=r"logRecords\[0\]: attributes\.input_tokens is missing"):
        imported("otel-logs", lines(exported_logs(record)))


def test_an_independent_reader_agrees(imported: Imported) -> None:
    found = []
    for line in otel_logs().splitlines():
        for record in json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]:
            held = {item["key"]: item["value"].get("intValue") for item in record["attributes"]}
            if record["body"]["stringValue"] == "claude_code.api_request":
                parts = ("input_tokens", "cache_read_tokens", "cache_creation_tokens")
                found.append((sum(int(held[name]) for name in parts), int(held["output_tokens"])))
    turns = [turn for program in imported("otel-logs") for one in program.family() for turn in one.turns]
    assert sorted(found) == sorted((turn.input_tokens, turn.output_tokens) for turn in turns)


def test_the_child_is_a_program_of_its_own_where_no_turn_started_it(imported: Imported) -> None:
    rows = [json.loads(line) for line in otel_logs().splitlines()]
    programs = imported("otel-logs", lines(rows[1]))
    assert isinstance(programs[0].children[0], Child)
    assert programs[0].turns[0] == Turn(18410, 0, 200, "Task", 0.0)


def test_a_session_with_a_bad_event_is_left_out_whole(tmp_path: Path) -> None:
    bad = log_event("api_request", 1.0, "claude_code.api_request", session__id="s-2", input_tokens=4, output_tokens=-4)
    good = log_event("api_request", 2.0, "claude_code.api_request", session__id="s-2", input_tokens=4, output_tokens=4)
    content = lines(exported_logs(good, bad, *codex_logs()), exported_logs(good))
    (tmp_path / "l.jsonl").write_bytes(content)
    made = import_trace([tmp_path / "l.jsonl"], tmp_path / "o.jsonl", skip_bad=True)
    assert (made.header.skipped, [p.program_id for p in read_programs(tmp_path / "o.jsonl")]) == (1, ["c-1"])
