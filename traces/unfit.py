"""Drop programs whose contexts are too long, or cut them before the first turn that is too long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from continuum_sim.traces.errors import TraceError, shown
from continuum_sim.traces.schema import Program, cut

Unfit = Literal["drop", "truncate"]
"""What happens to a program with a too long context: it is dropped, or cut before that turn."""

TOO_LONG: Final = "too long (contexts above "
"""Start of the text that reports such programs."""
_NAMED: Final = 3


@dataclass
class Fitting:
    """Passes programs whose contexts are short enough; drops or cuts the others, and counts them.

    Attributes
    ----------
    unfit
        `drop` leaves out whole programs, even if only a sub-agent is too long, so that the rest is as recorded.
        `truncate` cuts programs and their sub-agents, each before its own first turn that is too long. If that is the
        first turn, the sub-agent or the program is dropped; a sub-agent's parent stays.
    most_tokens
        Longest context allowed: prompt and output of a turn together.
    programs
        Programs seen.
    dropped, truncated
        Programs left out, and programs cut or without one of their sub-agents.
    children
        Sub-agents of the truncated programs that were left out or cut for their own contexts.
    named
        The first programs left out or cut.
    """

    unfit: Unfit
    most_tokens: int
    programs: int = 0
    dropped: int = 0
    truncated: int = 0
    children: int = 0
    named: list[str] = field(default_factory=list)

    def fresh(self) -> Fitting:
        """Return a copy with all counts at zero."""
        return Fitting(self.unfit, self.most_tokens)

    def apply(self, programs: Iterable[Program]) -> Iterator[Program]:
        """Yield the remaining programs, one by one.

        Raises
        ------
        TraceError
            At the end, if none remains.
        """
        for program in programs:
            self.programs += 1
            kept = self._kept(program)
            if kept is not program:
                if len(self.named) < _NAMED:
                    self.named.append(program.program_id)
                self.dropped += kept is None
                self.truncated += kept is not None
            if kept is not None:
                yield kept
        if self.programs == self.dropped > 0:
            raise TraceError(f"no program is left; {self}")

    def plain(self) -> dict[str, Any]:
        """Return the counts as plain values for JSON."""
        return {name: getattr(self, name) for name in ("dropped", "truncated", "children", "named")}

    @property
    def counted(self) -> str:
        """Say how many programs were left out or cut."""
        of_all = f" of {self.programs:,} programs"
        parts = [f"{self.dropped:,}{of_all} left out"] if self.dropped else []
        if self.truncated:
            agents = f" (with {self.children:,} sub-agent{'s' * (self.children > 1)})" if self.children else ""
            parts.append(f"{self.truncated:,}{'' if parts else of_all} cut before their first such turn{agents}")
        return f"{TOO_LONG}{self.most_tokens:,} tokens): {' and '.join(parts) or f'none{of_all}'}"

    def __str__(self) -> str:
        """Return `counted`, followed by the names of the first such programs."""
        more = self.dropped + self.truncated - len(self.named)
        named = ", ".join(map(shown, self.named)) + (f" and {more:,} more" if more else "")
        return f"{self.counted}: {named}" if named else self.counted

    def _kept(self, program: Program) -> Program | None:
        if all(member.max_context_tokens <= self.most_tokens for member in program.family()):
            return program
        return None if self.unfit == "drop" else self._cut(program)

    def _cut(self, program: Program) -> Program | None:
        too_long = (at for at, turn in enumerate(program.turns) if turn.context_tokens > self.most_tokens)
        num_turns = next(too_long, len(program.turns))
        return cut(program, num_turns, self._cut_child) if num_turns else None

    def _cut_child(self, child: Program) -> Program | None:
        kept = self._cut(child)
        self.children += kept is None or len(kept.turns) < len(child.turns)
        return kept
