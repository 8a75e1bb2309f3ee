"""Mooncake: one request a line, with the hashes of its prompt's blocks; with ``session_id``, turns of a conversation.

Source: github.com/kvcache-ai/Mooncake, ``FAST25-release`` (``timestamp`` in ms, ``input_length``, ``output_length``,
``hash_ids``; blocks of 512 tokens). Conversations are an extension of two readers that differ:

* NVIDIA Dynamo (github.com/ai-dynamo/dynamo, ``lib/mocker/src/loadgen/trace.rs``, ``from_mooncake``): every row has
  the whole prompt and its ``hash_ids``; ``delay`` is in ms after the turn before ended, else the difference of the
  timestamps.
* AIPerf (github.com/ai-dynamo/aiperf, ``src/aiperf/dataset/loader/mooncake_trace.py``): a row adds to the conversation
  (``context_mode`` ``deltas_without_responses``, its default): ``input_length`` and ``hash_ids`` are of what is new,
  and every response stays.

A row without ``context_mode`` is read in AIPerf's way if it has no hashes, or if no prompt of the conversation begins
with the block that the first one began with (as in AIPerf's ``docs/traces/inference-day-2026/dataset.jsonl``): whole
prompts would have at least the system prompt in common.

The published traces have no ``session_id``. There a prompt that holds all full blocks of an earlier one, and more, goes
on from it (`PrefixChains`), and the requests of a chain are the turns of one program. A second prompt that goes on from
the same one is a program of its own, which shares what the two have in common (`Prefixes`): nothing says that it waited
for the first.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import of_turns
from continuum_sim.traces.importers.chain_rows import UNKNOWN, Chain, ChainRows
from continuum_sim.traces.importers.fields import as_seconds, as_text
from continuum_sim.traces.importers.groups import Groups
from continuum_sim.traces.importers.hashed_rows import (
    USUAL_LINES,
    Line,
    Row,
    block_size,
    checked,
    conversation,
    gap_between,
    read_line,
)
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.own import own_parent
from continuum_sim.traces.importers.prefix_chains import End, PrefixChains, digest
from continuum_sim.traces.importers.prefixes import Prefixes, family_name
from continuum_sim.traces.importers.sources import Source, each_row_as
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import Program, SharedPrefix, Turn

BLOCK_SIZE: Final = 512
"""Tokens in a block of the published traces: a prompt of 40,160 tokens has 79 hashes (`synthetic_trace.jsonl`)."""

_PER_SECOND: Final = 1e3


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    prefixes = Prefixes()
    groups = Groups()
    chained = _Chained(prefixes, state)
    for source, number, line in each_row_as(sources, state, read_line, USUAL_LINES):
        key = line.session_id if isinstance(line, Line) else None
        try:
            row = _row(line, state)
            if row.own is not None and own_parent(row.own):
                continue  # the program that started it brings it along
            if key is not None:
                groups.add(as_text(key, "session_id"), [str(source.path), number, row])
                continue
            if row.ids and row.own is None:
                chained.add(source, number, row, row.ids)
                continue
            program = conversation(f"{source.stem}-{number}", [row], prefixes, state, BLOCK_SIZE)
        except TraceError as error:
            if isinstance(key, str):
                groups.drop(key)  # a conversation with a turn missing would be another conversation
            state.bad(error, source.path, number)
            continue
        yield program
    if not len(groups):
        prefixes.forget()
    yield from chained.programs()
    for name, rows in groups:
        try:
            program = conversation(name, [Row(*row) for _, _, row in rows], prefixes, state, BLOCK_SIZE)
        except TraceError as error:
            state.bad(TraceError(f"session {name}: {error.detail}", path=rows[0][0], line=rows[0][1]), rows[0][0])
            continue
        yield program


def _row(line: Any, state: ImportState) -> Row:
    if not isinstance(line, Line):
        raise TraceError("the line is no object, expected an object")
    if line.parent_chat_id is not None:
        raise TraceError("the row has parent_chat_id, which is Bailian's: say --from bailian")
    own = line.continuum_sim
    size = (state.block_size or BLOCK_SIZE) if own is None else block_size(own, state, BLOCK_SIZE)
    return checked(line, size, _PER_SECOND)


class _Chained:
    """Rows without a session, brought together by their prompts."""

    def __init__(self, prefixes: Prefixes, state: ImportState) -> None:
        self._prefixes = prefixes
        self._state = state
        self._size = state.block_size or BLOCK_SIZE
        self._chains = PrefixChains()
        self._rows = ChainRows()
        self._number = 0
        self._sources: list[Source] = []
        # What the first prompt of each chain shares: its first block, and in how many tokens.
        self._first_ids: list[int] = []
        self._shared_tokens = array("q")

    def add(self, source: Source, line: int, row: Row, ids: Sequence[int]) -> None:
        """Add a row to the conversation it goes on from, or begin one."""
        prompt = row.input_tokens
        at_s = UNKNOWN if row.at_s is None else row.at_s
        full = prompt // self._size
        number = self._number = self._number + 1
        before = self._chains.find(ids, full, prompt, at_s, number)
        own, first = True, False
        if before is not None:
            chain = before.chain
        else:
            chain = len(self._first_ids)
            self._first_ids.append(ids[0])
            shared_tokens = 0
            if full:
                prefix, first = self._prefixes.join(ids, full, self._size)
                shared_tokens = prefix.tokens
                own = first or shared_tokens < full * self._size
            self._shared_tokens.append(shared_tokens)
        if not self._sources or self._sources[-1] is not source:
            self._sources.append(source)
        self._rows.add(chain, number, len(self._sources) - 1, line, prompt, row.output_tokens or 1, at_s)
        if full:
            end = End(chain, full, digest(ids, full), ids[-1], prompt, at_s, first)
            self._chains.add(end, ids[full - 1], own=own)

    def programs(self) -> Iterator[Program]:
        """Yield the programs, once all rows are there."""
        chains, session = self._chains, self._state
        chains.forget()
        for number, chain in enumerate(self._rows):
            tokens = self._shared_tokens[number]
            prefix = SharedPrefix(family_name(self._first_ids[number]), tokens) if tokens else None
            cuts = [index for index, row in enumerate(chain.numbers) if row in chains.cuts] if chains.cuts else []
            for begin, end in pairwise((0, *cuts, len(chain.numbers))):
                if begin and prefix is not None:
                    # What it has in common with the row before, which it does not go on from after all.
                    shared_tokens = chain.input_tokens[begin - 1] // self._size * self._size
                    prefix = SharedPrefix(prefix.id, shared_tokens)
                source, line = self._sources[chain.files[begin]], chain.lines[begin]
                rows = Chain._make([column[begin:end] for column in chain]) if cuts else chain
                try:
                    program = _program(f"{source.stem}-{line}", rows, prefix, session)
                except TraceError as error:
                    session.bad(error, source.path, line)
                else:
                    yield program
        if chains.forks:
            session.note("requests that go on from one that another went on from, programs of their own", chains.forks)


def _program(name: str, rows: Chain, prefix: SharedPrefix | None, state: ImportState) -> Program:
    turns: list[Turn] = []
    kept = unknown = 0
    for prompt, output, following, at_s, then_s in zip(
        rows.input_tokens, rows.output_tokens, rows.input_tokens[1:], rows.at_s, rows.at_s[1:], strict=False
    ):
        gap_s = gap_between(None if at_s == UNKNOWN else at_s, None if then_s == UNKNOWN else then_s, state)
        unknown += gap_s is None
        turns.append(Turn(prompt, kept, output, "delay", gap_s or 0.0))
        context = prompt + output
        kept = context if following >= context else prompt
    turns.append(Turn(rows.input_tokens[-1], kept, rows.output_tokens[-1]))
    arrival_s = None if rows.at_s[0] == UNKNOWN else as_seconds(rows.at_s[0], "timestamp")
    state.count_gap(known=True, times=len(turns) - 1 - unknown)
    state.count_gap(known=False, times=unknown)
    return of_turns(state.unique(name), turns, arrival_s=arrival_s, shared_prefix=prefix)


def _sniff(head: Head) -> float:
    if "parent_chat_id" in head.top:
        return 0.0
    if not head.has("input_length", "output_length"):
        return 0.7 if head.has("input_tokens", "output_tokens", "hash_ids") else 0.0
    return 0.95 if {"hash_ids", "timestamp", "session_id"} & head.top else 0.7


MOONCAKE = Importer(
    name="mooncake",
    title="Mooncake requests, also with session_id and delay",
    source="github.com/kvcache-ai/Mooncake: FAST25-release; github.com/ai-dynamo/dynamo: loadgen/trace.rs",
    patterns=("*.jsonl",),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: input_length (where rows add to a conversation: what is new), output_length",
        "tool_s: delay",
        "arrival_s: timestamp of the first row",
    ),
    derived=(
        "which requests are one program, where there is no session_id: a prompt that holds all full blocks of an "
        "earlier one and more goes on from it",
        "kept_tokens: block hashes in common with the prompt before; the output counts as kept where all of them are",
        "shared_prefix: block hashes in common with the first prompt that begins with the same block",
    ),
    missing=("names of tools: delay",),
)
