"""A vLLM server's own log, with ``--enable-log-requests`` and ``--enable-log-outputs``.

Source: github.com/vllm-project/vllm, ``vllm/entrypoints/logger.py`` (``RequestLogger``) and ``vllm/logger.py`` (the
format of the time, which has no year). ``Received request ID: prompt: …, params: …, prompt_token_ids: […]`` up to
0.11; since then the ids are in ``Request ID details: …`` and need ``VLLM_LOGGING_LEVEL=DEBUG``. ``Generated response
ID…: output: …, output_token_ids: […]`` follows. Ids must be whole: no ``--max-log-len``. Of chats, servers log the text
and ``prompt_token_ids: None`` (as logs in public issues show): that text is counted with ``--tokenizer``.

A request goes on from an earlier one if its prompt begins with all of that one's prompt: exact, as the ids are there.
"""

from __future__ import annotations

import ast
import hashlib
import re
from array import array
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, make_program
from continuum_sim.traces.importers.groups import Groups
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.prefixes import common
from continuum_sim.traces.importers.session import Session
from continuum_sim.traces.importers.sources import Source
from continuum_sim.traces.schema import Program

_TIME: Final = re.compile(rb"(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d+))?")
_RECEIVED: Final = re.compile(rb"(?:Received request|Request) (\S+?)(?::| details:) prompt: ")
_GENERATED: Final = re.compile(rb"Generated response (\S+?)(?: \(streaming complete\))?: output: ")
_PROMPT_IDS: Final = re.compile(rb"prompt_token_ids: \[([\d, ]*)\]")
_OUTPUT_IDS: Final = re.compile(rb"output_token_ids: (?:\[|array\('[a-zA-Z]', \[)([\d, ]*)\]")
_TEXT: Final = re.compile(rb"(?:prompt|output): ('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")")
"""As Python writes strings."""
_LOOKS: Final = re.compile(
    r"(?:Received request|Request) \S+?(?::| details:) prompt: |Generated response \S+.*?: output: "
)
_MOST_OPEN: Final = 10_000
"""Conversations that a request can go on from: the last so many. Bounds the memory for their tokens."""


class _Open(NamedTuple):
    """The last request of a conversation."""

    key: str
    prompt: array[int]
    output: array[int]
    ended: float


def _read(sources: Iterable[Source], session: Session) -> Iterator[Program]:
    zero: float | None = None
    for source in sources:
        groups = Groups(by_time=True)
        waiting: dict[str, tuple[float, array[int], int]] = {}
        last = _Conversations()
        for number, line in source.lines():
            try:
                _take(line, number, source.stem, waiting, last, groups, session)
            except TraceError as error:
                session.bad(error, source.path, number)
        if waiting:
            session.note("requests without a logged response, left out", len(waiting))
        for key, rows in groups:
            zero = rows[0][0] if zero is None else zero
            calls = [
                Call(
                    prompt, output, kept_tokens=kept, tool="client", tool_s=rows[i + 1][4] if i + 1 < len(rows) else 0.0
                )
                for i, (_, prompt, output, kept, _) in enumerate(rows)
            ]
            try:
                program = make_program(session.unique(key), calls, session, arrival_s=max(0.0, rows[0][0] - zero))
            except TraceError as error:
                session.bad(TraceError(f"{key}: {error.detail}"), source.path)
                continue
            yield program


def _take(
    line: bytes,
    number: int,
    stem: str,
    waiting: dict[str, tuple[float, array[int], int]],
    last: _Conversations,
    groups: Groups,
    session: Session,
) -> None:
    if found := _RECEIVED.search(line):
        if b"params: PoolingParams(" in line:
            session.note("requests that generate nothing (embeddings), left out")
            return
        ids = _tokens(_PROMPT_IDS, line, session)
        if ids is None:
            raise TraceError("no prompt_token_ids in the line, expected them, or a text to count with --tokenizer DIR")
        if not ids:
            raise TraceError("prompt_token_ids is empty, expected at least one")
        waiting[_name(found.group(1))] = (_clock(line), ids, number)
    elif found := _GENERATED.search(line):
        request = waiting.pop(_name(found.group(1)), None)
        if request is None:
            session.note("responses without a logged request, left out")
            return
        output = _tokens(_OUTPUT_IDS, line, session)
        if output is None:
            raise TraceError("no output_token_ids in the line, expected them, or a text to count with --tokenizer DIR")
        received, prompt, at = request
        _finish(received, _clock(line), prompt, output, f"{stem}-{at}", last, groups)


def _finish(
    received: float,
    ended: float,
    prompt: array[int],
    output: array[int],
    new: str,
    last: _Conversations,
    groups: Groups,
) -> None:
    """Add a request to the conversation it goes on from, or begin one."""
    before = last.take(prompt)
    kept, gap_s, key = 0, 0.0, new
    if before is not None:
        key, gap_s = before.key, received - before.ended
        kept = len(before.prompt) + common(before.output, prompt[len(before.prompt) :])
    groups.add(key, [received, len(prompt), len(output), kept, gap_s], received)
    last.put(_Open(key, prompt, output, ended))


class _Conversations:
    """The last requests of conversations, by their prompts; at most `_MOST_OPEN` of them."""

    def __init__(self) -> None:
        self._last: OrderedDict[bytes, _Open] = OrderedDict()
        self._lengths: Counter[int] = Counter()

    def take(self, prompt: array[int]) -> _Open | None:
        """Find the longest earlier prompt that this one begins with, and close it: it has one next request."""
        digest = hashlib.blake2b(digest_size=16)
        found = None
        done = 0
        # One pass over the prompt, however many prompts there are to compare it with.
        for length in sorted(length for length in self._lengths if length < len(prompt)):
            digest.update(prompt[done:length].tobytes())
            done = length
            key = digest.digest()
            found = key if key in self._last else found
        return None if found is None else self._close(found)

    def put(self, one: _Open) -> None:
        """Remember the last request of a conversation, in place of an equal one."""
        key = hashlib.blake2b(one.prompt.tobytes(), digest_size=16).digest()
        if key in self._last:
            self._close(key)
        self._last[key] = one
        self._lengths[len(one.prompt)] += 1
        if len(self._last) > _MOST_OPEN:
            self._close(next(iter(self._last)))

    def _close(self, key: bytes) -> _Open:
        one = self._last.pop(key)
        self._lengths[len(one.prompt)] -= 1
        if not self._lengths[len(one.prompt)]:
            del self._lengths[len(one.prompt)]
        return one


def _tokens(pattern: re.Pattern[bytes], line: bytes, session: Session) -> array[int] | None:
    """Return the token ids of a prompt or an answer: as they were logged, else counted in its text."""
    ids = _ids(pattern, line)
    if ids is not None or session.tokens is None:
        return ids
    text = _TEXT.search(line)
    if text is None:
        return None
    try:
        return array("q", session.tokens.ids(ast.literal_eval(text.group(1).decode("utf-8", "replace"))))
    except (ValueError, SyntaxError):
        raise TraceError("the text in the line is cut off or no string, expected it as vLLM logs it") from None


def _ids(pattern: re.Pattern[bytes], line: bytes) -> array[int] | None:
    # The last one: the text of a prompt may quote a log.
    found: list[bytes] = pattern.findall(line)
    if not found:
        return None
    try:
        return array("q", [int(item) for item in found[-1].split(b",") if item.strip()])
    except (ValueError, OverflowError):
        raise TraceError("a token id is no number below 2**63, expected token ids") from None


def _name(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _clock(line: bytes) -> float:
    """Return the time of a line in seconds since the beginning of a (leap) year: vLLM logs none."""
    found = _TIME.search(line)
    if found is None:
        raise TraceError("no time in the line, expected vLLM's MM-DD HH:MM:SS")
    month, day, hour, minute, second = (int(part) for part in found.groups()[:5])
    try:
        moment = datetime(2024, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise TraceError("the time in the line is none, expected vLLM's MM-DD HH:MM:SS") from None
    fraction = float(b"0." + found.group(6)[:9]) if found.group(6) else 0.0
    return (moment - datetime(2024, 1, 1, tzinfo=UTC)).total_seconds() + fraction


def _sniff(head: Head) -> float:
    return 1.0 if _LOOKS.search(head.text) else 0.0


VLLM_LOG = Importer(
    name="vllm-log",
    title="request log of a vLLM server",
    source="github.com/vllm-project/vllm: vllm/entrypoints/logger.py, vllm/logger.py",
    patterns=("*.log",),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: numbers of prompt_token_ids and output_token_ids",
        "kept_tokens: leading token ids in common with the prompt and output before",
        "arrival_s: time of a program's first request, from the earliest on (whole seconds, as vLLM logs them)",
    ),
    derived=(
        "which requests are one program: a prompt that begins with all of an earlier prompt goes on from it",
        "tool_s: from the logged response to the next request",
        "input_tokens and output_tokens where the log has text and no ids: counted with --tokenizer",
    ),
    missing=("names of tools: client", "shared_prefix"),
)
