"""Contents of a fit, as stored in its file."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from continuum_sim.traces.fit.gaps import GapFit
from continuum_sim.traces.fit.quantiles import Quantiles

_MOST_TURNS: Final = 1_000_000

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Counts = dict[str, _Count]
"""Occurrences of each key; draws are in proportion to them."""


class FitSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a fit was made from.

    Attributes
    ----------
    trace
        Name of the file, and its SHA-256 in hexadecimal.
    programs, children, turns
        Counts of what was read; sub-agents are ``children``.
    about
        Where the trace came from and under which licence, as given by the maker of the fit.
    """

    trace: str
    sha256: str
    programs: int
    children: int
    turns: int
    about: str = ""


class ToolFit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tool: what follows it, how long it takes, and the sizes of the turns around it.

    Attributes
    ----------
    calls
        Turns that call it. Several tools called at once count as one tool, under their label.
    followed_by
        Which tool the next turn calls, if that turn is not the last.
    gap_s, output_tokens, new_tokens
        Its seconds, the output of the turns that call it, and the new tokens of the prompts after it that keep
        their whole context. ``None`` for a tool with few calls, which uses those of `TraceFit.rare_tools`.
    """

    calls: _Count
    followed_by: _Counts
    gap_s: GapFit | None = None
    output_tokens: Quantiles | None = None
    new_tokens: Quantiles | None = None


class Breaks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Turns that do not keep the whole context before them; a program's first turn is not counted.

    Attributes
    ----------
    output_share
        Share of turns that lose output of the turn before (hidden reasoning that was not sent back), and nothing else.
    lost_output_share, lost_output_new_tokens
        For these: the lost share of that output, and the new prompt tokens.
    cut_share
        Share of turns that lose more (a compacted context).
    cut_kept_share, cut_refill
        For these: the kept share of the context, and the new prompt tokens per token lost.
    """

    output_share: _Share = 0.0
    lost_output_share: Quantiles | None = None
    lost_output_new_tokens: Quantiles | None = None
    cut_share: _Share = 0.0
    cut_kept_share: Quantiles | None = None
    cut_refill: Quantiles | None = None

    def __post_init__(self) -> None:
        if self.output_share + self.cut_share > 1:
            raise ValueError("output_share and cut_share add up to more than 1")
        for share, needed in (
            ("output_share", ("lost_output_share", "lost_output_new_tokens")),
            ("cut_share", ("cut_kept_share", "cut_refill")),
        ):
            for name in needed:
                if getattr(self, share) > 0 and getattr(self, name) is None:
                    raise ValueError(f"{name} is null, expected quantiles where {share} is above 0")


class Correlation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How similar the turns of one program are: intraclass correlations of normal scores, 0 for not at all."""

    new_tokens: _Share = 0.0
    output_tokens: _Share = 0.0


class Prefix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A prefix that a share of the programs have in common, with its length in the median program."""

    share: _Share
    tokens: _Count


class TraceFit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A workload as distributions.

    Attributes
    ----------
    turns
        Number of programs by their number of turns.
    first_prompt_tokens
        Prompt length of the first turn.
    first_tools
        Which tool the first turn calls, if it is not the last turn.
    tools
        The tools, by name.
    rare_tools
        Seconds, outputs and new tokens of all tools with few calls, merged; ``None`` if there are none.
    last_output_tokens
        Output of programs' last turns.
    breaks, correlation, shared_prefixes
        See the classes.
    longest_context_tokens
        Largest context of any turn; a drawn program that exceeds it is drawn again.
    source
        What the fit was made from.
    continuum_fit
        Version of this format.
    """

    turns: dict[int, _Count]
    first_prompt_tokens: Quantiles
    first_tools: _Counts
    tools: dict[str, ToolFit]
    rare_tools: ToolFit | None
    last_output_tokens: Quantiles
    breaks: Breaks
    correlation: Correlation
    shared_prefixes: tuple[Prefix, ...]
    longest_context_tokens: _Count
    source: FitSource
    continuum_fit: Literal[1] = 1

    def __post_init__(self) -> None:
        if not self.turns or min(self.turns) < 1 or max(self.turns) > _MOST_TURNS:
            raise ValueError(f"turns is not programs by their number of turns, from 1 to {_MOST_TURNS}")
        if max(self.turns) > 1 and not (self.first_tools and self.tools):
            raise ValueError("tools or first_tools is empty, expected those that programs of several turns call")
        for seen, where in ((self.first_tools, "first_tools"), *((t.followed_by, n) for n, t in self.tools.items())):
            for name in seen:
                if name not in self.tools:
                    raise ValueError(f"{where} names {name!r}, expected one of tools")
        for name, tool in (*self.tools.items(), ("rare_tools", self.rare_tools)):
            lacks = tool is not None and None in (tool.gap_s, tool.output_tokens, tool.new_tokens)
            if lacks and (self.rare_tools is None or name == "rare_tools"):
                raise ValueError(f"{name} lacks its distributions, and there are none in rare_tools")
        if sum(prefix.share for prefix in self.shared_prefixes) > 1 + 1e-6:
            raise ValueError("the shares of shared_prefixes add up to more than 1")

    def of(self, tool: str) -> ToolFit:
        """Return the distributions of a tool: its own, or those of the rare tools."""
        fit = self.tools[tool]
        if fit.gap_s is None or fit.output_tokens is None or fit.new_tokens is None:
            assert self.rare_tools is not None
            return self.rare_tools
        return fit
