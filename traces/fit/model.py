"""What a fit says, as it stands in its file."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from continuum_sim.traces.fit.gaps import GapFit
from continuum_sim.traces.fit.quantiles import Quantiles

_MOST_TURNS: Final = 1_000_000

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Counts = dict[str, _Count]
"""How often each was seen; draws are in proportion."""


class FitSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a fit was made of.

    Attributes
    ----------
    trace
        Name of the file, and its SHA-256 in hexadecimal.
    programs, children, turns
        How many were read; sub-agents are ``children``.
    about
        Where the trace came from and under which licence, in the words of who made the fit.
    """

    trace: str
    sha256: str
    programs: int
    children: int
    turns: int
    about: str = ""


class ToolFit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tool: what follows it, how long it takes, and the turns around it.

    Attributes
    ----------
    calls
        Turns that call it. Several tools called at once are one, under their label.
    followed_by
        Which tool the next turn calls, where that is not the last.
    gap_s, output_tokens, new_tokens
        Its seconds, the output of the turns that call it, and what is new in the prompts after it where they keep
        their whole context. ``None`` for a tool of few calls, which takes those of `TraceFit.rare_tools`.
    """

    calls: _Count
    followed_by: _Counts
    gap_s: GapFit | None = None
    output_tokens: Quantiles | None = None
    new_tokens: Quantiles | None = None


class Breaks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Turns that do not keep the whole context before them, the first of a program aside.

    Attributes
    ----------
    output_share
        Share of turns that lose output of the turn before (hidden reasoning that was not sent back), and no more.
    lost_output_share, lost_output_new_tokens
        Of those: the share of that output that is lost, and the new prompt tokens.
    cut_share
        Share of turns that lose more (a compacted context).
    cut_kept_share, cut_refill
        Of those: the share of the context that is kept, and the new prompt tokens for each token lost.
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
    """How much alike the turns of one program are: intraclass correlations of normal scores, 0 where not at all."""

    new_tokens: _Share = 0.0
    output_tokens: _Share = 0.0


class Prefix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A prefix that a share of the programs have in common, of so many tokens in its median program."""

    share: _Share
    tokens: _Count


class TraceFit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A workload in distributions.

    Attributes
    ----------
    turns
        Programs by their number of turns.
    first_prompt_tokens
        Prompt of the first turn.
    first_tools
        Which tool the first turn calls, where it is not the last.
    tools
        By name.
    rare_tools
        Seconds, outputs and new tokens of the tools of few calls, taken together; ``None`` where there are none.
    last_output_tokens
        Output of a program's last turn.
    breaks, correlation, shared_prefixes
        See there.
    longest_context_tokens
        Of any turn; a drawn program that grows beyond is drawn again.
    source
        What it was made of.
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
        """Return the distributions of a tool: its own, or those of the rare ones."""
        fit = self.tools[tool]
        if fit.gap_s is None or fit.output_tokens is None or fit.new_tokens is None:
            assert self.rare_tools is not None
            return self.rare_tools
        return fit
