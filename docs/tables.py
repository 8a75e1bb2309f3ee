"""Tables of the documentation that take several runs, in Markdown.

python docs/tables.py overload   # policies-field.md: every policy against lru
python docs/tables.py memory     # policies-field.md: policies that use host memory, without and with it
python docs/tables.py tiers      # tiers.md: how much of it matters
python docs/tables.py routers    # clusters.md: stock vLLM and ttl under each router
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

import continuum_sim as cs

BASELINE = "lru"
OVERLOADED = (
    *(BASELINE, "fcfs", "program-fifo", "ttl-static", "ttl", "ttl:pressure=younger", "ttl-expected", "soft-ttl"),
    *("continuum-code", "pin-forever", "infercept", "autellix", "saga", "mars", "concur", "llmd-turn-priority"),
    *("session-gate", "session-gate:limit=16", "thunderagent", "thunderagent:buffer_tokens=3000", "mori"),
    *("belady", "oracle-ttl", "oracle-srpt", "infercept-oracle"),
)
COPIES = ("program-fifo", "soft-ttl")
"""Policies whose contexts all have a copy in host memory."""
USES_MEMORY = (*COPIES, "infercept", "tokencake", "mori", "mori:buffer_tokens=3000")
NEEDS_MEMORY = ("tokencake",)
TIERED = ("lru", "program-fifo", "ttl", "ttl:pressure=younger", "soft-ttl")
ROUTERS = (
    *("session-affinity", "prefix-aware", "prefix-aware:index=events", "autellix", "saga-placement"),
    *("least-loaded", "round-robin"),
)
SCARCE: dict[str, Any] = {"arrivals": "poisson:rate=0.08", "kv_blocks": 28_292}


@dataclass(frozen=True)
class Size:
    """How much of each setting is run."""

    seeds: int
    limit: int | None

    def compare(self, policies: Sequence[str], **settings: Any) -> cs.CompareResult:
        """Run these policies on the first seeds."""
        return cs.compare(list(policies), range(self.seeds), limit=self.limit, **settings)


def overload(size: Size) -> None:
    """Print the mean JCT of every policy over that of lru."""
    result = size.compare(OVERLOADED, arrivals="poisson:rate=0.2", kv_blocks=20_000)
    found = sorted((one for one in result.paired if one.metric == "mean"), key=lambda one: one.ratio)
    rows = [(f"`{one.policy}`", f"{one.ratio:.3f}", f"{one.ratio_low:.3f} to {one.ratio_high:.3f}") for one in found]
    show(("policy", "mean JCT against `lru`", "95 % interval"), rows)


def memory(size: Size) -> None:
    """Print what 100 GB of host memory are worth to policies that use it."""
    without = size.compare([policy for policy in USES_MEMORY if policy not in NEEDS_MEMORY], **SCARCE)
    mean_s = {row.policy: f"{row.jct_mean_s:,.0f} s" for row in without.rows}
    above = size.compare(USES_MEMORY, **SCARCE, dram_gb=100)
    rows = []
    for policy, row in zip(USES_MEMORY, above.rows, strict=True):
        runs = [summary.policy_activity.offloads for summary in above.summaries if summary.policy == row.policy]
        moved = "copies of all" if policy in COPIES else f"{sum(runs) / len(runs):,.0f}"
        moved += ", and copies of all" * policy.startswith("mori")
        tokens = (f"{row.recomputed_tokens / 1e6:.2f} M", f"{row.reloaded_tokens / 1e6:.1f} M")
        rows.append((f"`{policy}`", mean_s.get(row.policy, "–"), f"{row.jct_mean_s:,.0f} s", moved, *tokens))
    show(
        ("policy", "mean JCT without", "with", "contexts offloaded a run", "tokens recomputed", "reloaded"),
        rows,
    )


def tiers(size: Size) -> None:
    """Print mean JCT by the size of a DRAM tier."""
    rows = []
    for gb in (0, 25, 50, 100, 200, 400):
        found = size.compare(TIERED, **SCARCE, dram_gb=gb).rows
        tokens = (f"{count / 1e6:.1f} M" for count in (found[0].recomputed_tokens, found[0].reloaded_tokens))
        rows.append((str(gb or "none"), *(f"{row.jct_mean_s:,.0f}" for row in found), *tokens))
    names = [f"`{policy}`" for policy in TIERED]
    show(("`--dram-gb`", *names, "tokens `lru` recomputes", "and reloads"), rows)


def routers(size: Size) -> None:
    """Print stock vLLM and ttl behind each router."""
    settings: dict[str, Any] = {"replicas": 4, "kv_blocks": 12_000, "arrivals": "poisson:rate=0.3"}
    columns: list[list[tuple[str, ...]]] = []
    for rest in ("", "order=pinned-first,retention=ttl,"):
        result = size.compare([f"{rest}routing={router}" for router in ROUTERS], **settings)
        against = {one.policy: one for one in result.paired if one.metric == "mean"}
        columns.append([])
        for row in result.rows:
            one = against.get(row.policy)
            ratio = f"{one.ratio:.3f} ({one.ratio_low:.3f} to {one.ratio_high:.3f})" if one else ""
            cached = row.cached_tokens / (row.cached_tokens + row.computed_tokens + row.reloaded_tokens)
            moved = row.moved_turns if isinstance(row.moved_turns, float) else 0.0
            columns[-1].append((f"{row.jct_mean_s:,.1f} s", ratio, f"{100 * cached:.0f} %", f"{moved:,.0f}"))
    heads = ("mean JCT", "against `session-affinity`", "from cache", "moved turns")
    rows = [(f"`{router}`", *stock, *ttl) for router, stock, ttl in zip(ROUTERS, *columns, strict=True)]
    show(("router", f"stock: {heads[0]}", *heads[1:], f"`ttl`: {heads[0]}", *heads[1:]), rows)


def show(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table."""
    for cells in (heads, ["---"] * len(heads), *rows):
        print(f"| {' | '.join(cells)} |".replace("|  |", "| |"))


TABLES: dict[str, Callable[[Size], None]] = {
    "overload": overload,
    "memory": memory,
    "tiers": tiers,
    "routers": routers,
}


def main(
    table: Annotated[str, typer.Argument(help=f"One of {', '.join(TABLES)}.")],
    seeds: Annotated[int, typer.Option(help="How many seeds of the arrivals, from 0 on.")] = 5,
    limit: Annotated[int | None, typer.Option(help="First programs of the trace only.")] = None,
) -> None:
    """Print a table of the documentation, in Markdown."""
    if table not in TABLES:
        raise typer.BadParameter(f"{table!r} is none of {', '.join(TABLES)}", param_hint="TABLE")
    TABLES[table](Size(seeds, limit))


if __name__ == "__main__":
    typer.run(main)
