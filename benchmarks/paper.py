"""The Continuum paper's figures beside ours, an ablation it lacks, and controls in which no policy can gain.

python benchmarks/paper.py figures      # one table per figure with published values
python benchmarks/paper.py openhands    # Figure 9: another agent, over arrival rates
python benchmarks/paper.py turns        # Figure 14: programs of more and shorter turns
python benchmarks/paper.py chunks       # Figure 13: chunk and batch sizes
python benchmarks/paper.py ablation     # order alone, pin alone, cost models, oracle
python benchmarks/paper.py controls     # plentiful memory, long gaps, no reuse

Prints the tables of docs/paper.md in Markdown; `python docs/refresh.py paper.md` puts them there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

import continuum_sim as cs
from continuum_sim.published import PublishedPoint
from continuum_sim.traces import Program, find_trace, read_programs, truncate

app = typer.Typer(pretty_exceptions_enable=False)

ABLATED = ("continuum-fig16-swe", "continuum-fig16-bfcl", "continuum-public-code")
COMPARED = (*ABLATED, "continuum-fig10-swe")
"""Scenarios with published values per policy, at one load."""

ABLATION = {
    "lru": "stock vLLM",
    "program-fifo": "order alone",
    "retention=ttl": "pin alone, by the cost model",
    "ttl-static": "order and a pin of 2 s",
    "ttl": "order and the paper's cost model",
    "ttl:pressure=younger": "the same, and no newcomer displaces an older program",
    "ttl-expected": "order, cost model that charges for the expected wait",
    "oracle-ttl": "order, pins for exactly the gap (looks ahead)",
    "oracle-srpt": "least remaining work first, no pin (looks ahead)",
}

RETENTION = ("program-fifo", "ttl-static", "ttl", "ttl-expected", "pin-forever", "oracle-ttl")
"""The first serves programs in the same order and pins nothing: whatever the others gain is due to retention."""


@dataclass(frozen=True)
class Size:
    """How much of each setting to run."""

    seeds: int
    step_time: str
    limit: int | None = None
    max_turns: int | None = None
    jobs: int = 1

    def compare(self, policies: Sequence[str], **settings: Any) -> cs.CompareResult:
        """Run these policies on the first seeds; programs passed as objects are already cut."""
        if isinstance(settings["trace"], str):
            settings |= {"limit": self.limit, "max_turns": self.max_turns}
        if self.limit is not None:
            settings.pop("programs", None)
        return cs.compare(list(policies), range(self.seeds), jobs=self.jobs, step_time=self.step_time, **settings)

    def programs(self, trace: str) -> list[Program]:
        """Read the part of a trace that is to be run."""
        programs = read_programs(find_trace(trace), limit=self.limit)
        return [p if self.max_turns is None else truncate(p, self.max_turns) for p in programs]


def figures(size: Size) -> None:
    """Print one table per figure with published values for policies."""
    for name in COMPARED:
        scenario = cs.find_scenario(name)
        result = size.compare(scenario.policies, **scenario.base)
        for figure in map(cs.find_published, scenario.figures):
            print(f"\n{figure.figure}, {figure.title} (`{name}`)\n")
            print(
                _table(
                    ("published as", "policy", "", "published", "ratio", "ours", "ratio"),
                    _beside(figure.points, result),
                )
            )


def _beside(points: Sequence[PublishedPoint], result: cs.CompareResult) -> Iterator[tuple[str, ...]]:
    """Yield a row per published value with ours, both also as ratios to the first policy's; then ours alone."""
    ours = {row.policy.partition(":")[0]: row for row in result.rows}
    makespan_s = {policy: sum(s) / len(s) for policy, s in _makespans(result).items()}

    def simulated(policy: str | None, quantity: str) -> float:
        assert policy is not None
        return makespan_s[policy] if quantity == "makespan_s" else getattr(ours[policy], quantity)

    first: dict[str, PublishedPoint] = {}
    for point in points:
        first.setdefault(point.quantity, point)
    for point in points:
        value, start = simulated(point.policy, point.quantity), first[point.quantity]
        published = (f"{'~' * point.approximate}{point.value:,.0f}", f"{point.value / start.value:.2f}")
        here = (f"{value:,.0f}", f"{value / simulated(start.policy, point.quantity):.2f}")
        yield point.series, f"`{point.policy}`", point.quantity, *published, *here
    published_policies = {point.policy for point in points}
    for policy in ours:
        for quantity, start in first.items():
            if policy not in published_policies:
                value = simulated(policy, quantity)
                here = (f"{value:,.0f}", f"{value / simulated(start.policy, quantity):.2f}")
                yield "–", f"`{policy}`", quantity, "–", "–", *here


def _makespans(result: cs.CompareResult) -> dict[str, list[float]]:
    spans: dict[str, list[float]] = {}
    for summary in result.summaries:
        spans.setdefault(summary.policy.partition(":")[0], []).append(summary.sim_s)
    return spans


def openhands(size: Size) -> None:
    """Print Figure 9: mean and 95th percentile over arrival rates; the paper prints no values."""
    scenario = cs.find_scenario("continuum-fig09-openhands")
    rows = []
    for rate in scenario.grid["rate"]:
        settings = {**scenario.base, "arrivals": f"poisson:rate={rate}"}
        found = size.compare(scenario.policies, **settings).rows
        seconds = [f"{row.jct_mean_s:,.0f} / {row.jct_p95_s:,.0f}" for row in found]
        rows.append((f"{rate:g}", *seconds, f"{found[0].jct_mean_s / found[-1].jct_mean_s:.2f}"))
    names = [f"`{policy}` s, mean / P95" for policy in scenario.policies]
    print(_table(("programs/s", *names, "lru / ttl"), rows))


def turns(size: Size) -> None:
    """Print Figure 14: the trace repeated, its token counts divided accordingly, at the same rate."""
    scenario = cs.find_scenario("continuum-fig14-turns")
    rows = []
    for point in cs.find_published("fig14-turns").points:
        assert point.x is not None
        result = size.compare(scenario.policies, **scenario.base, repeat_turns=point.x)
        stock, pinned = result.rows
        mean_turns = result.summaries[0].turns / result.summaries[0].programs
        seconds = (f"{stock.jct_mean_s:,.0f}", f"{pinned.jct_mean_s:,.0f}")
        ratio = stock.jct_mean_s / pinned.jct_mean_s
        rows.append((f"{point.x:g}", f"{mean_turns:.0f}", *seconds, f"~{point.value:.1f}", f"{ratio:.1f}"))
    print(_table(("turns ×", "mean turns", "`lru` s", "`ttl` s", "published ratio", "ours"), rows))


def chunks(size: Size) -> None:
    """Print Figure 13: how the gain depends on the chunk size and on the number of running turns."""
    for name in ("continuum-fig13-chunk", "continuum-fig13-batch"):
        scenario = cs.find_scenario(name)
        (axis,) = scenario.grid.keys() - {"policy"}
        rows = []
        for value in scenario.grid[axis]:
            stock, pinned = size.compare(scenario.policies, **{**scenario.base, axis: value}).rows
            seconds = (f"{stock.jct_mean_s:,.0f}", f"{pinned.jct_mean_s:,.0f}")
            rows.append((str(value), *seconds, f"{stock.jct_mean_s / pinned.jct_mean_s:.2f}"))
        print(f"\n{_table((axis, '`lru` s', '`ttl` s', 'lru / ttl'), rows)}")


def ablation(size: Size) -> None:
    """Print the separate effects of order, pins, cost models and foresight."""
    columns = [size.compare(tuple(ABLATION), **cs.find_scenario(name).base).rows for name in ABLATED]
    rows = []
    for place, (policy, what) in enumerate(ABLATION.items()):
        cells = []
        for column in columns:
            cells += [f"{column[place].jct_mean_s:,.0f}", f"{column[place].jct_mean_s / column[0].jct_mean_s:.2f}"]
        rows.append((f"`{policy}`", what, *cells))
    heads = [head for name in ABLATED for head in (f"{name.removeprefix('continuum-')} s", "ratio")]
    print(_table(("policy", "what it is", *heads), rows))


def controls(size: Size) -> None:
    """Print settings in which retention cannot gain: its JCT relative to the same order without pins."""
    settings = cs.find_scenario("plentiful-memory").base
    base = size.programs(settings["trace"])
    scarce = {**settings, "arrivals": "poisson:rate=0.1"}
    rows = []
    for name, case in control_cases(base, scarce, settings).items():
        result = size.compare(RETENTION, **case)
        differences = {item.policy: item for item in result.paired if item.metric == "mean"}
        cells = [f"{result.rows[0].jct_mean_s:,.0f} s"]
        for row in result.rows[1:]:
            item = differences[row.policy]
            cells.append(f"{item.ratio:.3f} ({item.ratio_low:.3f} … {item.ratio_high:.3f})")
        rows.append((name, *cells))
    print(_table(("setting", *(f"`{policy}`" for policy in RETENTION)), rows))


def control_cases(
    programs: Sequence[Program], scarce: Mapping[str, Any], plentiful: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return settings in which retention gains, then three in which it cannot."""
    return {
        "scarce memory (gains)": {**scarce, "trace": programs},
        "plentiful memory": {**plentiful, "trace": programs},
        "gaps of 10 minutes": {**scarce, "trace": [with_gaps(program, 600.0) for program in programs]},
        "no reuse": {**scarce, "trace": [without_reuse(program) for program in programs]},
    }


def with_gaps(program: Program, seconds: float) -> Program:
    """Return the program with every tool call taking `seconds`."""
    *before, last = program.turns
    return replace(program, turns=(*(replace(turn, tool_s=seconds) for turn in before), last))


def without_reuse(program: Program) -> Program:
    """Return the program with no prompt reusing any part of the turn before."""
    return replace(program, turns=tuple(replace(turn, kept_tokens=0) for turn in program.turns), shared_prefix=None)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


TABLES: dict[str, tuple[Callable[[Size], None], int, str]] = {
    "figures": (figures, 5, "aiconfigurator"),
    "openhands": (openhands, 5, "aiconfigurator"),
    "turns": (turns, 5, "aiconfigurator"),
    "chunks": (chunks, 2, "aiconfigurator"),
    "ablation": (ablation, 5, "aiconfigurator"),
    "controls": (controls, 5, "roofline"),
}
"""Each table, with the seeds and the step times of docs/paper.md."""


@app.command()
def main(
    table: Annotated[str, typer.Argument(help=f"One of {', '.join(TABLES)}.")],
    seeds: Annotated[int | None, typer.Option(help="How many seeds of the arrivals, from 0 on.")] = None,
    step_time: Annotated[str | None, typer.Option(help="As for --step-time of `run`.")] = None,
    limit: Annotated[int | None, typer.Option(help="First programs of the trace only.")] = None,
    max_turns: Annotated[int | None, typer.Option(help="First turns of each program only.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes.")] = 1,
) -> None:
    """Print a table of docs/paper.md, in Markdown; seeds and step times are its own unless given."""
    if table not in TABLES:
        raise typer.BadParameter(f"{table!r} is none of {', '.join(TABLES)}", param_hint="TABLE")
    show, its_seeds, its_step_time = TABLES[table]
    show(Size(its_seeds if seeds is None else seeds, step_time or its_step_time, limit, max_turns, jobs))


if __name__ == "__main__":
    app()
