"""Imported spans of writers that each have their own way (`support.otel_logs`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces import Program, TraceError, Turn, import_trace, read_header, read_programs
from continuum_sim.traces.importers.otel import OTEL
from continuum_sim.traces.importers.sources import Source
from continuum_sim.traces.importers.state import ImportState
from support.otel_logs import agent, chat, copilot, export, resource, span, tool

Imported = Callable[..., list[Program]]
CASES = Path(__file__).parents[4] / "shared" / "cases"


def notes(folder: Path) -> dict[str, int]:
    header = read_header(folder / "out.jsonl")
    assert header is not None
    return dict(header.notes)


def imported_case(path: Path, folder: Path) -> list[Program]:
    if not path.exists():
        pytest.skip(f"the cases are not here ({path.name})")
    import_trace([path], folder / "out.jsonl")
    return list(read_programs(folder / "out.jsonl"))


def test_tools_inside_the_span_of_their_call(imported: Imported, tmp_path: Path) -> None:
    (main,) = imported("otel", export(*copilot()))
    # From the first tool's start to the next call's; if a sub-agent ran, the time of the other tools.
    assert [(turn.tool, turn.tool_s) for turn in main.turns] == [
        ("report_intent+shell", pytest.approx(8.02)),
        ("task", 0.0),
        (None, 0.0),
    ]
    (child,) = main.children
    assert (child.after_turn, child.join_turn) == (1, 2)
    assert child.program.turns == (Turn(8_000, 0, 50, "grep", pytest.approx(8.02)), Turn(12_100, 8_050, 100))
    assert notes(tmp_path)["calls whose spans hold the tools that they called, over when the first began"] == 3


def test_a_tool_that_outlives_the_span_does_not_end_it(imported: Imported) -> None:
    spans = [chat("a", "", 0, 5, 100, 10), tool("t", "", 4, 9, "build"), chat("b", "", 9.5, 11, 200, 10)]
    (program,) = imported("otel", export(*spans))
    assert (program.turns[0].tool, program.turns[0].tool_s) == ("build", 4.5)


@pytest.mark.parametrize("cut", ["m", "nothing"])
def test_the_outermost_span_may_be_cut_off(imported: Imported, cut: str) -> None:
    kept = [one for one in copilot() if one["spanId"] != cut]
    for one in kept:
        one["attributes"].append({"key": "session.id", "value": {"stringValue": "c"}})
    (main,) = imported("otel", export(*kept))
    assert [turn.input_tokens for turn in main.turns] == [10_000, 10_300, 10_600]
    assert [turn.input_tokens for turn in main.children[0].program.turns] == [8_000, 12_100]


def test_calls_beside_the_sums_of_their_agent(imported: Imported) -> None:
    spans = copilot()
    for one in spans:
        if one["parentSpanId"] == "s":
            one["parentSpanId"] = "m"
    (main,) = imported("otel", export(*spans))
    (expected,) = imported("otel", export(*copilot()))
    assert main == expected


def test_tools_and_sub_agents_below_the_call_that_started_them(imported: Imported) -> None:
    """A call does not include what a tool that it called does."""
    spans = copilot()
    for one in spans:
        one["parentSpanId"] = {"t1": "c1", "t2": "c1", "t3": "c2", "t4": "s1", "s": "t3"}.get(
            one["spanId"], one["parentSpanId"]
        )
    assert imported("otel", export(*spans)) == imported("otel", export(*copilot()))


def test_sums_of_calls_in_tools(imported: Imported) -> None:
    spans = [span("r", "", 0, 9, usage__input_tokens=300, usage__output_tokens=30), tool("t", "r", 1, 8, "ask")]
    spans += [chat("a", "t", 2, 3, 100, 10), chat("b", "t", 4, 5, 200, 20)]
    (program,) = imported("otel", export(*spans))
    assert [turn.input_tokens for turn in program.turns] == [100, 200]


def test_an_agent_with_sums_alone_is_no_call(imported: Imported, tmp_path: Path) -> None:
    spans = [one for one in copilot() if one["parentSpanId"] != "s"]
    (main,) = imported("otel", export(*spans))
    assert (len(main.turns), main.children) == (3, ())
    assert notes(tmp_path)["agents of which the file has sums and no calls, left out"] == 1


def test_sums_of_a_chain(imported: Imported) -> None:
    """OpenInference's chains and agents have counts too, and their calls may be in another trace."""
    inner = chat("a", "", 0, 1, 100, 10, conversation__id="c")
    outer = span("z", "", 0, 2, trace="f" * 32)
    for key, value in (
        ("openinference.span.kind", {"stringValue": "CHAIN"}),
        ("llm.token_count.prompt", {"intValue": 100}),
        ("llm.token_count.completion", {"intValue": 10}),
    ):
        outer["attributes"].append({"key": key, "value": value})
    assert [one.turns for one in imported("otel", export(inner, outer))] == [(Turn(100, 0, 10),)]


def cached(read: int, made: int = 0) -> dict[str, int]:
    return {"usage__cache_read__input_tokens": read, "usage__cache_creation__input_tokens": made}


def test_cached_input_counted_apart(imported: Imported, tmp_path: Path) -> None:
    spans = [
        chat("a", "", 0, 1, 40, 20, **cached(0, 3_000)),
        # Alone, this span's 900 could include its 500; the writer's other spans show that they do not.
        chat("b", "", 2, 3, 900, 20, **cached(500, 100)),
        chat("c", "", 4, 5, 0, 20, **cached(3_900, 60)),
        chat("d", "", 6, 7, 4_100, 20, **cached(0)),
    ]
    (program,) = imported("otel", export(*spans))
    assert [turn.input_tokens for turn in program.turns] == [3_040, 1_500, 3_960, 4_100]
    assert notes(tmp_path)["prompts whose cached part was counted apart, added to them"] == 3


def test_cached_input_in_the_prompt(imported: Imported) -> None:
    """Spans by the same writer for another provider do not count with those."""
    spans = [
        chat("a", "", 0, 1, 900, 20, provider__name="openai", **cached(500)),
        chat("b", "", 2, 3, 40, 20, provider__name="anthropic", **cached(3_000)),
    ]
    (program,) = imported("otel", export(*spans))
    assert [turn.input_tokens for turn in program.turns] == [900, 3_040]


def test_totals_tell_that_cached_input_is_counted_apart(imported: Imported) -> None:
    for total, prompt in ((920, 900), (1_420, 1_400), (0, 900)):
        one = chat("a", "", 0, 1, 900, 20, usage__total_tokens=total, **cached(500))
        (program,) = imported("otel", export(one))
        assert program.turns == (Turn(prompt, 0, 20),)


def test_spans_that_were_exported_twice(imported: Imported) -> None:
    assert imported("otel", export(*copilot(), *copilot()[2:5])) == imported("otel", export(*copilot()))


def test_claude_codes_own_spans(imported: Imported) -> None:
    def own(id: str, parent: str, start: float, end: float, kind: str, **attributes: Any) -> dict[str, Any]:
        made = span(id, parent, start, end)
        made["name"] = f"claude_code.{kind}"
        for key, value in {"span.type": kind, "session.id": "s", **attributes}.items():
            held = {"stringValue": value} if isinstance(value, str) else {"intValue": str(value)}
            made["attributes"].append({"key": key, "value": held})
        return made

    counts = {"input_tokens": 2, "output_tokens": 120, "cache_read_tokens": 900, "cache_creation_tokens": 98}
    more = {**counts, "cache_read_tokens": 1_000, "cache_creation_tokens": 200}
    spans = [
        own("i", "", 0, 20, "interaction"),
        own("a", "i", 1, 5, "llm_request", **counts),
        own("t", "i", 5, 8, "tool", tool_name="Bash"),
        own("e", "t", 6, 8, "tool.execution", tool_name="Bash"),
        own("b", "i", 8.5, 12, "llm_request", **more),
        own("x", "i", 5.5, 7, "llm_request", agent_id="k", **counts),
    ]
    (program,) = imported("otel", export(*spans))
    # The next call waits for the sub-agent, so the gap is the shell's time.
    assert program.turns == (Turn(1_000, 0, 120, "Bash", 3.0), Turn(1_202, 1_120, 120))
    assert [child.program.turns for child in program.children] == [(Turn(1_000, 0, 120),)]


def test_several_traces_of_one_conversation(imported: Imported) -> None:
    """Copilot begins a trace with every user message; only agents and calls name the conversation."""
    first = [chat("a", "m", 1, 2, 100, 10), tool("t", "m", 2, 3, "ls"), chat("b", "m", 3, 4, 150, 10)]
    second = [{**one, "traceId": "f" * 32} for one in (chat("c", "n", 11, 12, 200, 10),)]
    roots = [agent("m", "", 0, 4, conversation__id="c"), agent("n", "", 10, 12, conversation__id="c")]
    roots[1]["traceId"] = "f" * 32
    (program,) = imported("otel", export(*second, *first, *roots))
    assert [(turn.input_tokens, turn.tool, turn.tool_s) for turn in program.turns] == [
        (100, "ls", 1.0),
        (150, "client", 7.0),
        (200, None, 0.0),
    ]


def test_bare_resource_spans_and_tempos_batches(imported: Imported, tmp_path: Path) -> None:
    half = len(copilot()) // 2
    parts = [resource(copilot()[:half]), resource(copilot()[half:])]
    expected = imported("otel", export(*copilot()))
    for content in (
        "\n".join(json.dumps(part, indent=2) for part in parts),
        json.dumps({"batches": parts}),
        json.dumps({"trace": {"resourceSpans": parts}}),
        json.dumps({"resourceSpans": parts}).replace("scopeSpans", "instrumentationLibrarySpans"),
    ):
        assert imported("otel", content.encode()) == expected
        made = import_trace([tmp_path / "spans.jsonl"], tmp_path / "told.jsonl")
        assert (made.format, made.sure) == ("otel", 1.0)


def test_other_signals_in_the_same_file(imported: Imported) -> None:
    others: list[dict[str, Any]] = [{}, {"resourceMetrics": []}, {"resourceLogs": []}]
    content = b"\n".join([*(json.dumps(one).encode() for one in others), export(*copilot())])
    assert imported("otel", content) == imported("otel", export(*copilot()))


def test_gaps_of_no_length(imported: Imported, tmp_path: Path) -> None:
    spans = [chat("a", "", 0, 1, 100, 10), tool("t", "", 1, 1, "ls"), chat("b", "", 1, 2, 150, 10)]
    imported("otel", export(*spans))
    assert notes(tmp_path)["gaps of exactly 0 s"] == 1
    for between, unknown in ((spans[1:2], 1), ([], 0)):
        (tmp_path / "spans.jsonl").write_bytes(export(spans[0], *between, spans[2]))
        session = ImportState()
        list(OTEL.read([Source(tmp_path / "spans.jsonl")], session))
        # A client may take no time, a tool cannot.
        assert (session.gaps, session.unknown_gaps) == (1, unknown)


def test_calls_that_failed(imported: Imported, tmp_path: Path) -> None:
    (program,) = imported("otel", export(chat("a", "", 0, 1, 0, 0), chat("b", "", 1, 2, 150, 10)))
    assert program.turns == (Turn(150, 0, 10),)
    assert notes(tmp_path)["calls without a prompt (they failed), left out"] == 1


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"data": [{"traceID": "1", "spans": []}]}, "Jaeger's own JSON"),
        ([{"traceId": "1", "id": "2", "name": "x", "timestamp": 1, "duration": 2}], "Zipkin's JSON"),
    ],
)
def test_other_formats_of_spans_are_named(imported: Imported, value: Any, named: str) -> None:
    with pytest.raises(TraceError, match=named):
        imported("otel", json.dumps(value).encode())


def test_case_01_tools_inside_chat(tmp_path: Path) -> None:
    (program,) = imported_case(CASES / "traces" / "01-otel-tools-inside-chat.jsonl", tmp_path)
    assert [(turn.input_tokens, turn.output_tokens, turn.tool) for turn in program.turns] == [
        (20_000, 150, "shell"),
        (20_400, 90, "view+shell"),
        (20_700, 60, None),
    ]
    assert [turn.tool_s for turn in program.turns] == [pytest.approx(8.02), pytest.approx(15.02), 0]
    assert notes(tmp_path)["calls whose spans hold the tools that they called, over when the first began"] == 2


def test_case_47_bare_resource_spans(tmp_path: Path) -> None:
    (program,) = imported_case(CASES / "traces" / "47-otel-bare-resource-spans.jsonl", tmp_path)
    assert program.turns == (Turn(1_000, 0, 50, "shell", 3.0), Turn(1_100, 1_050, 30))


def test_case_03_cached_input_apart(tmp_path: Path) -> None:
    (program,) = imported_case(CASES / "models" / "03-otel-cached-input-apart" / "spans.json", tmp_path)
    assert [turn.input_tokens for turn in program.turns] == [3_000, 3_150, 3_370]
    assert [turn.kept_tokens for turn in program.turns] == [0, 3_000, 3_250]
