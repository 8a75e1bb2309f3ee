"""Options and counters of one import."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.tokens import Tokens

_FIRST_BAD: Final = 5
"""How many errors are kept to be shown: the first few represent the rest."""


class ImportState:
    """Options of an import, and its bad records and adjustments so far.

    Parameters
    ----------
    skip_bad
        True to leave out and count unreadable records, False to stop at the first.
    tokens
        Counts tokens in text, if requested.
    block_size
        Tokens per block of `hash_ids` if the format does not say; None for the format's default.
    """

    def __init__(self, *, skip_bad: bool = False, tokens: Tokens | None = None, block_size: int | None = None) -> None:
        self.skip_bad = skip_bad
        self.tokens = tokens
        self.block_size = block_size
        self.skipped = 0
        self.first_skipped: list[str] = []
        self.notes: Counter[str] = Counter()
        self.gaps = self.unknown_gaps = 0
        self.not_measured: set[str] = set()
        self._names: Counter[str] = Counter()

    def bad(self, error: TraceError, path: Path, line: int | None = None) -> None:
        """Record an unusable record.

        Raises
        ------
        TraceError
            The same error with its place, unless bad records are skipped.
        """
        placed = TraceError(error.detail, path=error.path or path, line=error.line or line)
        if not self.skip_bad:
            raise placed from None
        self.skipped += 1
        if len(self.first_skipped) < _FIRST_BAD:
            self.first_skipped.append(str(placed))

    def note(self, what: str, times: int = 1) -> None:
        """Count an adjustment."""
        self.notes[what] += times

    def unmeasured(self, field: str) -> None:
        """Record that these files lack a field that the format measures, such as ``output_tokens``."""
        self.not_measured.add(field)

    def count_gap(self, *, known: bool, times: int = 1) -> None:
        """Count a gap between two calls, and whether the file tells its length."""
        self.gaps += times
        self.unknown_gaps += 0 if known else times

    def unique(self, name: str) -> str:
        """Return ``name``, with a number appended if it has been used."""
        while True:
            self._names[name] += 1
            if self._names[name] == 1:
                return name
            self.note("program ids that several programs had, numbered")
            name = f"{name}#{self._names[name]}"

    def needed_tokens(self, where: str) -> Tokens:
        """Return the tokenizer.

        Raises
        ------
        TraceError
            If there is none; the message says what needs it.
        """
        if self.tokens is None:
            raise TraceError(f"{where} has text and no token counts: say what counts them with --tokenizer DIR")
        return self.tokens
