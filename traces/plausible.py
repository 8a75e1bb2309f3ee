"""What a trace requires of an engine, and which of its numbers are hardly credible."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from continuum_sim.traces.schema import Program

SHORT_GAP_S: Final = 0.01
"""Starting a shell takes longer than this."""
SHELLS: Final = frozenset(
    (
        "bash",
        "bash_command",
        "exec_command",
        "execute_bash",
        "execute_command",
        "local_shell",
        "run_command",
        "run_in_terminal",
        "run_shell_command",
        "run_terminal_cmd",
        "shell",
        "shell_command",
        "terminal",
    )
)
"""Names by which agents call a shell, in lower case."""
LARGEST_WINDOW_TOKENS: Final = 10_485_760
"""Llama 4 Scout's window (``max_position_embeddings`` of its config.json): the longest of any open model."""
ODD_SHARE: Final = 0.1
"""What happens more often than this is not an accident."""


@dataclass(slots=True)
class Plausibility:
    """Counts over a trace, gathered program by program.

    Attributes
    ----------
    input_tokens, output_tokens
        Sums over all turns.
    longest_context_tokens, longest_program, longest_turn
        The largest prompt with its output (the model length that serving the trace needs), and where it occurs.
    shell_gaps, short_shell_gaps
        Gaps filled by a shell, and those of them below `SHORT_GAP_S`.
    calling_turns, one_token_calls
        Turns that call a tool, and those of them that output a single token.
    too_long
        Turns whose context exceeds every model's window.
    gap_s, human_s
        Seconds of all gaps, and of those filled by a person.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    longest_context_tokens: int = 0
    longest_program: str = ""
    longest_turn: int = 0
    shell_gaps: int = 0
    short_shell_gaps: int = 0
    calling_turns: int = 0
    one_token_calls: int = 0
    too_long: int = 0
    gap_s: float = 0.0
    human_s: float = 0.0

    def take(self, program: Program) -> None:
        """Count one program with its sub-agents."""
        for member in program.family():
            for index, turn in enumerate(member.turns):
                prompt, output = turn.input_tokens, turn.output_tokens
                self.input_tokens += prompt
                self.output_tokens += output
                if prompt + output > self.longest_context_tokens:
                    self.longest_context_tokens = prompt + output
                    self.longest_program, self.longest_turn = member.program_id, index
                if prompt + output > LARGEST_WINDOW_TOKENS:
                    self.too_long += 1
                if turn.tool is not None:
                    self._take_gap(_kind(turn.tool), turn.tool_s, output)

    def _take_gap(self, kind: str, gap_s: float, output_tokens: int) -> None:
        self.gap_s += gap_s
        if kind == "human":
            self.human_s += gap_s
            return
        self.calling_turns += 1
        self.one_token_calls += output_tokens == 1
        if kind == "shell":
            self.shell_gaps += 1
            self.short_shell_gaps += gap_s < SHORT_GAP_S

    @property
    def longest(self) -> str:
        """Say which model length the longest context needs, and where it is."""
        where = f"{self.longest_program}, turn {self.longest_turn}"
        return f"longest context {self.longest_context_tokens:,} tokens ({where}): the model length it needs"

    @property
    def doubts(self) -> str:
        """Say in one line what is hardly credible, or that nothing is odd."""
        return "; ".join(self._doubts()) or f"nothing odd{self._human('; ')}"

    def _doubts(self) -> Iterator[str]:
        if self.short_shell_gaps > ODD_SHARE * self.shell_gaps:
            short = (
                f"{self.short_shell_gaps:,} of {self.shell_gaps:,} gaps of a shell are below {1e3 * SHORT_GAP_S:g} ms"
            )
            yield f"{short}, so gaps were hardly measured"
        if self.one_token_calls > ODD_SHARE * self.calling_turns:
            few = f"{self.one_token_calls:,} of {self.calling_turns:,} outputs that call a tool have one token"
            yield f"{few}, so outputs were hardly measured"
        if self.too_long:
            yield f"{self.too_long:,} contexts are longer than any model's window of {LARGEST_WINDOW_TOKENS:,}"
        if self.human_s > self.gap_s / 2:
            yield self._human("")

    def _human(self, before: str) -> str:
        return f"{before}{self.human_s / self.gap_s:.0%} of the time in gaps is human" if self.human_s else ""


@lru_cache(4096)
def _kind(tool: str) -> str:
    """Classify what fills a gap: ``human``, ``shell``, or an empty string for anything else."""
    names = tool.lower().split("+")
    return "human" if "human" in names else "shell" if not SHELLS.isdisjoint(names) else ""
