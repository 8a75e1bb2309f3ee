"""Published tables of requests, mostly without conversations: background load and little else.

Sources: github.com/Azure/AzurePublicDataset (``AzureLLMInferenceDataset2023.md`` and ``…2024.md``): ``TIMESTAMP``,
``ContextTokens``, ``GeneratedTokens``; github.com/HPMLL/BurstGPT: ``Timestamp`` in seconds, ``Request tokens``,
``Response tokens``, 0 for failed requests, since the second version with ``Session ID`` and ``Elapsed time``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, make_program
from continuum_sim.traces.importers.csv_rows import csv_number, each_csv_row
from continuum_sim.traces.importers.fields import as_count, as_seconds, as_time
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.sources import Source, Stems
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.importers.timed import Request, TimedRequests
from continuum_sim.traces.schema import Program

_AZURE: Final = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_BURSTGPT: Final = ("Timestamp", "Request tokens", "Response tokens")


def _read_azure(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    zero_s: float | None = None
    for source, number, row in each_csv_row(sources, state, _AZURE):
        try:
            at_s = as_time(row["TIMESTAMP"], "TIMESTAMP")
            zero_s = at_s if zero_s is None else zero_s
            if at_s < zero_s:
                state.note("requests before the first one of the file, taken to come with it")
            prompt = as_count(csv_number(row, "ContextTokens"), "ContextTokens", 1)
            call = Call(prompt, as_count(csv_number(row, "GeneratedTokens"), "GeneratedTokens"))
            name = state.unique(f"{source.stem}-{number - 1}")
            program = make_program(name, [call], state, arrival_s=max(0.0, round(at_s - zero_s, 6)))
        except TraceError as error:
            state.bad(error, source.path, number)
            continue
        yield program


def _read_burstgpt(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    requests = TimedRequests(state)
    stems = Stems()
    for source, number, row in each_csv_row(sources, state, _BURSTGPT):
        try:
            output = as_count(csv_number(row, "Response tokens"), "Response tokens")
            if output == 0:
                state.note("calls that failed, left out")
                continue
            at_s = as_time(csv_number(row, "Timestamp"), "Timestamp")
            took = row.get("Elapsed time")
            took_s = as_seconds(csv_number(row, "Elapsed time"), "Elapsed time") if took else None
            prompt = as_count(csv_number(row, "Request tokens"), "Request tokens", 1)
        except TraceError as error:
            state.bad(error, source.path, number)
            continue
        request = Request(
            start_s=at_s,
            end_s=None if took_s is None else at_s + took_s,
            input_tokens=prompt,
            output_tokens=output,
            tool="human",
        )
        requests.add(row.get("Session ID") or f"{stems.of(source)}-{number - 1}", request, source.path, number)
    yield from requests.programs()


AZURE = Importer(
    name="azure-llm",
    title="Azure's LLM inference traces of 2023 and 2024 (CSV)",
    source="github.com/Azure/AzurePublicDataset: AzureLLMInferenceDataset2023.md, AzureLLMInferenceDataset2024.md",
    patterns=("*.csv",),
    sniff=lambda head: _sniff(head, _AZURE),
    read=_read_azure,
    measured=("input_tokens and output_tokens: ContextTokens, GeneratedTokens", "arrival_s: TIMESTAMP"),
    derived=(),
    missing=("which requests belong together: single turns", "shared_prefix"),
)

BURSTGPT = Importer(
    name="burstgpt",
    title="BurstGPT requests (CSV), also with Session ID and Elapsed time",
    source="github.com/HPMLL/BurstGPT: README.md",
    patterns=("*.csv",),
    sniff=lambda head: _sniff(head, _BURSTGPT),
    read=_read_burstgpt,
    measured=(
        "input_tokens and output_tokens: Request tokens, Response tokens",
        "tool_s: from Timestamp and Elapsed time to the next Timestamp of the session (a person's pause)",
        "arrival_s: Timestamp of a program's first request, from the earliest on",
    ),
    derived=("which requests are one program: Session ID, else single turns", "kept_tokens: from prompt lengths"),
    missing=("shared_prefix",),
)


def _sniff(head: Head, columns: tuple[str, ...]) -> float:
    return 1.0 if head.columns.issuperset(columns) else 0.0
