"""A vLLM server's own log, with ``--enable-log-requests`` and ``--enable-log-outputs``.

Source: github.com/vllm-project/vllm, ``vllm/entrypoints/logger.py`` (``RequestLogger``) and ``vllm/logger.py`` (the
format of the time, which has no year). ``Received request ID: prompt: …, params: …, prompt_token_ids: […]`` up to
0.11 (before 0.3 ``prompt token ids: […]``); since then the ids are in ``Request ID details: …`` and need
``VLLM_LOGGING_LEVEL=DEBUG``. ``Generated response ID…: output: …, output_token_ids: […]`` follows; of a streamed answer
the ids are in its deltas. Ids must be complete: no ``--max-log-len``. For chats, servers log the text and
``prompt_token_ids: None`` (as logs in public issues show): that text is counted with ``--tokenizer``.

A request continues an earlier one if its prompt begins with that one's whole prompt, which is exact because the ids
are known. If no answers are logged, as before 0.9 and without ``--enable-log-outputs``, an answer is what follows its
prompt in the conversation's next one, up to the mark with which the chat template ends it.
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
from continuum_sim.traces.importers.sources import Source
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import Program

_TIME: Final = re.compile(rb"(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d+))?")
_RECEIVED: Final = re.compile(rb"(?:Received request|Request) (\S+?)(?::| details:) prompt: ")
_BARE: Final = re.compile(rb"Received request \S+?: params: ")
_GENERATED: Final = re.compile(rb"Generated response (\S+?)( \(streaming (?:complete|delta)\))?: output: ")
_PROMPT_IDS: Final = re.compile(rb"prompt[_ ]token[_ ]ids: \[([\d, ]*)\]")
_OUTPUT_IDS: Final = re.compile(rb"output_token_ids: (?:\[|array\('[a-zA-Z]', \[)([\d, ]*)\]")
_TEXT: Final = re.compile(rb"(?:prompt|output): ('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")")
"""A string as Python writes it."""
_LOOKS: Final = re.compile(
    r"(?:Received request|Request) \S+?(?::| details:) prompt: |Received request \S+?: params: |"
    r"Generated response \S+.*?: output: "
)
_SERVER: Final = "vLLM API server version"
_END_OF_ANSWER: Final = re.compile(
    r"<\|(?!channel|message|constrain|tool_call|python_tag)[^|<>\s]{1,40}\|>|<｜(?!tool)[^｜<>]{1,40}｜>|</?s>|"
    r"<(?:end|start)_of_turn>|\[/?INST\]|\n(?:User|Human|USER): "
)
"""How chat templates end an answer, or begin what follows it; marks used inside answers are not included."""
_MOST_OPEN: Final = 10_000
"""How many of the latest conversations a request can continue. Bounds the memory for their tokens."""


_UNKNOWN: Final = array("q", [-1])
"""An answer of which only its existence is known: no token of a prompt has this id."""


class _Open(NamedTuple):
    """A request that a later one may continue."""

    key: str
    """Its conversation, or its own id if it has no answer."""
    prompt: array[int]
    output: array[int]
    ended: float
    """When its answer was logged; if none was, when it was received."""
    answered: bool = True


class _Waiting(NamedTuple):
    received: float
    prompt: array[int]
    line: int
    digest: bytes
    text: str
    deltas: array[int]
    before: _Open | None
    """The request that it continues, if no answers are logged."""


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    zero: float | None = None
    for source in sources:
        log = _Log(source.stem, state)
        for number, line in source.lines():
            try:
                log.take(line, number)
            except TraceError as error:
                state.bad(error, source.path, number)
        log.end()
        if not log.turns and not log.bad:
            state.bad(TraceError(log.nothing()), source.path)
        for key, rows in log.groups:
            zero = rows[0][0] if zero is None else zero
            calls = [
                Call(
                    prompt, output, kept_tokens=kept, tool="client", tool_s=rows[i + 1][4] if i + 1 < len(rows) else 0.0
                )
                for i, (_, prompt, output, kept, _) in enumerate(rows)
            ]
            try:
                program = make_program(state.unique(key), calls, state, arrival_s=max(0.0, rows[0][0] - zero))
            except TraceError as error:
                state.bad(TraceError(f"{key}: {error.detail}"), source.path)
                continue
            yield program


class _Log:
    """One log, read line by line: requests waiting for their answers, and the conversations they belong to."""

    def __init__(self, stem: str, state: ImportState) -> None:
        self.groups = Groups(by_time=True)
        self.turns = self.bad = 0
        self._stem = stem
        self._state = state
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._unanswered = _Conversations()
        self._last = _Conversations()
        self._requests = self._bare = self._answers = self._without_request = 0

    def take(self, line: bytes, number: int) -> None:
        """Read one line.

        Raises
        ------
        TraceError
            If it belongs to a request that cannot be used.
        """
        try:
            if found := _RECEIVED.search(line):
                if b"params: PoolingParams(" in line:
                    self._state.note("requests that generate nothing (embeddings), left out")
                else:
                    self._receive(_name(found.group(1)), line, number)
            elif found := _GENERATED.search(line):
                self._answer(_name(found.group(1)), line, delta=b"delta" in (found.group(2) or b""))
            elif _BARE.search(line):
                self._bare += 1
        except TraceError:
            self.bad += 1
            raise

    def end(self) -> None:
        """Finish the requests without an answer."""
        left_out = 0
        for request in self._waiting.values():
            if request.before is not None:
                self._state.note("turns whose answer is not in the log, taken as 1 token")
                self._state.unmeasured("output_tokens")
                self._finish(request, _UNKNOWN, request.received, request.before)
            else:
                left_out += 1
        if left_out:
            self._state.note("requests without a logged response, left out", left_out)

    def nothing(self) -> str:
        """Say why no conversation was found in the log."""
        if self._requests:
            count = f"{self._requests} request{'s' * (self._requests != 1)}"
            return f"{count}, none with a logged response: run the server with --enable-log-outputs"
        if self._bare:
            count = f"{self._bare} request{'s' * (self._bare != 1)}"
            return f"{count} logged without prompts: run the server with VLLM_LOGGING_LEVEL=DEBUG"
        if self._without_request:
            return f"{self._without_request} responses without requests: run the server with --enable-log-requests"
        return "no request is logged in it: run the server with --enable-log-requests --enable-log-outputs"

    def _receive(self, name: str, line: bytes, number: int) -> None:
        self._requests += 1
        ids, text = _tokens(_PROMPT_IDS, line, self._state, text_too=not self._answers)
        if ids is None and text is None:
            self._state.note("requests without text and token ids, left out")
            return
        if ids is None:
            raise TraceError("the line has text and no token ids: say what counts them with --tokenizer DIR")
        if not ids:
            raise TraceError("prompt_token_ids is empty, expected at least one")
        received = _clock(line)
        # Compare text, because tokens may merge where a prompt ends.
        asked = array("B", text.encode("utf-8", "replace")) if text else ids
        before = None
        if not self._answers:  # if the log has answers, a request without one was aborted
            before = self._infer(asked, ids, text or "")
        digest = self._unanswered.put(_Open(name, asked, array("q"), received))
        self._waiting[name] = _Waiting(received, ids, number, digest, text or "", array("q"), before)
        if len(self._waiting) > _MOST_OPEN:
            _, oldest = self._waiting.popitem(last=False)
            self._unanswered.close(oldest.digest)
            self._state.note("requests without a logged response, left out")

    def _infer(self, asked: array[int], prompt: array[int], text: str) -> _Open | None:
        """Return the request that this one continues, with the answer found in this one's prompt."""
        found = self._unanswered.take(asked)
        request = None if found is None else self._waiting.pop(found.key, None)
        if request is None:
            return None
        rest = prompt[len(request.prompt) :]
        output: array[int] | None = None
        if request.text and text.startswith(request.text):
            following = text[len(request.text) :]
            end = _END_OF_ANSWER.search(following)
            if end and self._state.tokens is not None:
                output = array("q", self._state.tokens.ids(following[: end.start()]))
            elif end:
                output = rest[: round(len(rest) * end.start() / len(following))]
        if output is None:
            self._state.note("turns whose answer is not in the log, taken as 1 token")
            self._state.unmeasured("output_tokens")
        else:
            self._state.note("answers that are not logged, taken from the prompt that follows")
        return self._finish(request, output or _UNKNOWN, request.received, request.before, answered=False)

    def _answer(self, name: str, line: bytes, *, delta: bool) -> None:
        self._answers += 1
        request = self._waiting.get(name)
        if delta:
            if request is not None:
                request.deltas.extend(_ids(_OUTPUT_IDS, line) or ())
            return
        if request is None:
            self._without_request += 1
            self._state.note("responses without a logged request, left out")
            return
        del self._waiting[name]
        self._unanswered.close(request.digest)
        output = _ids(_OUTPUT_IDS, line) or request.deltas
        if not output:
            counted, text = _tokens(_OUTPUT_IDS, line, self._state, text_too=True)
            if counted is None and text is not None:
                raise TraceError("the line has text and no token ids: say what counts them with --tokenizer DIR")
            if counted is None:
                raise TraceError("no output_token_ids in the line, expected them")
            output = counted
        self._finish(request, output, _clock(line), self._last.take(request.prompt))

    def _finish(
        self, request: _Waiting, output: array[int], ended: float, before: _Open | None, *, answered: bool = True
    ) -> _Open:
        """Add a request to the conversation it continues, or begin one."""
        kept, gap_s, key = 0, 0.0, f"{self._stem}-{request.line}"
        prompt = request.prompt
        if before is not None:
            key, gap_s = before.key, request.received - before.ended
            start = len(before.prompt)
            if prompt[:start] == before.prompt:
                kept = start + common(before.output, prompt[start:])
            else:
                kept = common(before.prompt, prompt)
            if not before.answered:
                self._state.note("gaps between starts, the time for the request itself included (no response)")
        self.groups.add(key, [request.received, len(prompt), len(output), kept, gap_s], request.received)
        self.turns += 1
        one = _Open(key, prompt, output, ended, answered)
        if answered:
            self._last.put(one)
        return one


class _Conversations:
    """The latest requests of conversations, by their prompts; at most `_MOST_OPEN` of them."""

    def __init__(self) -> None:
        self._last: OrderedDict[bytes, _Open] = OrderedDict()
        self._lengths: Counter[int] = Counter()

    def take(self, prompt: array[int]) -> _Open | None:
        """Find and close the longest earlier prompt that this one begins with: each is continued only once."""
        digest = hashlib.blake2b(digest_size=16)
        found = None
        done = 0
        # One pass over the prompt, however many prompts it is compared with.
        for length in sorted(length for length in self._lengths if length < len(prompt)):
            digest.update(prompt[done:length].tobytes())
            done = length
            key = digest.digest()
            found = key if key in self._last else found
        return None if found is None else self._close(found)

    def put(self, one: _Open) -> bytes:
        """Store a conversation's latest request, replacing an equal one, and return its key."""
        key = hashlib.blake2b(one.prompt.tobytes(), digest_size=16).digest()
        self.close(key)
        self._last[key] = one
        self._lengths[len(one.prompt)] += 1
        if len(self._last) > _MOST_OPEN:
            self._close(next(iter(self._last)))
        return key

    def close(self, key: bytes) -> None:
        """Forget one, if present."""
        if key in self._last:
            self._close(key)

    def _close(self, key: bytes) -> _Open:
        one = self._last.pop(key)
        self._lengths[len(one.prompt)] -= 1
        if not self._lengths[len(one.prompt)]:
            del self._lengths[len(one.prompt)]
        return one


def _tokens(
    pattern: re.Pattern[bytes], line: bytes, state: ImportState, *, text_too: bool
) -> tuple[array[int] | None, str | None]:
    """Return a prompt's or an answer's token ids, logged or counted in its text, and the text if needed."""
    ids = _ids(pattern, line)
    found = _TEXT.search(line) if text_too or ids is None else None
    if found is None:
        return ids, None
    try:
        text = str(ast.literal_eval(found.group(1).decode("utf-8", "replace")))
    except (ValueError, SyntaxError):
        if ids is not None:
            return ids, None
        raise TraceError("the text in the line is cut off or not a string, expected it as vLLM logs it") from None
    if ids is None and state.tokens is not None:
        ids = array("q", state.tokens.ids(text))
    return ids, text


def _ids(pattern: re.Pattern[bytes], line: bytes) -> array[int] | None:
    # Take the last match, because the text of a prompt may quote a log.
    found: list[bytes] = pattern.findall(line)
    if not found:
        return None
    try:
        return array("q", [int(item) for item in found[-1].split(b",") if item.strip()])
    except (ValueError, OverflowError):
        raise TraceError("a token id is not a number below 2**63, expected token ids") from None


def _name(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _clock(line: bytes) -> float:
    """Return the time of a line in seconds since the beginning of a (leap) year: vLLM logs no year."""
    found = _TIME.search(line)
    if found is None:
        raise TraceError("no time in the line, expected vLLM's MM-DD HH:MM:SS")
    month, day, hour, minute, second = (int(part) for part in found.groups()[:5])
    try:
        moment = datetime(2024, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise TraceError("the time in the line is not valid, expected vLLM's MM-DD HH:MM:SS") from None
    fraction = float(b"0." + found.group(6)[:9]) if found.group(6) else 0.0
    return (moment - datetime(2024, 1, 1, tzinfo=UTC)).total_seconds() + fraction


def _sniff(head: Head) -> float:
    return 1.0 if _LOOKS.search(head.text) else 0.8 if _SERVER in head.text else 0.0


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
        "answers that are not logged: what follows a prompt in the next one of its conversation",
        "input_tokens and output_tokens where the log has text and no ids: counted with --tokenizer",
    ),
    missing=("names of tools: client", "shared_prefix"),
)
