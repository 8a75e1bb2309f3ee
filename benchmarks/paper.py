"""The Continuum paper's figures beside ours, an ablation it lacks, and controls in which no policy may gain.

python benchmarks/paper.py figures      # one table per figure with published values
python benchmarks/paper.py turns        # Figure 14: programs of more and shorter turns
python benchmarks/paper.py chunks       # Figure 13: chunk and batch sizes
python benchmarks/paper.py ablation     # order alone, pin alone, cost models, oracle
python benchmarks/paper.py controls     # plentiful memory, long gaps, no reuse

Prints the tables of docs/paper.md, in Markdown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

import continuum_sim as cs
from continuum_sim.published import PublishedPoint
from continuum_sim.traces import Program, find_trace, read_programs, truncate

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

Seeds = Annotated[int, typer.Option(help="How many seeds of the arrivals, from 0 on.")]
StepTime = Annotated[str, typer.Option(help="As for --step-time.")]
Limit = Annotated[int | None, typer.Option(help="First programs of the trace only.")]
Turns = Annotated[int | None, typer.Option(help="First turns of each program only.")]
Jobs = Annotated[int, typer.Option(help="Processes.")]

ABLATED = ("continuum-fig16-swe", "continuum-fig16-bfcl", "continuum-public-code")
COMPARED = (*ABLATED, "continuum-fig10-swe")
"""Scenarios whose published values are per policy, at one load."""

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
"""The first one serves programs in the same order and pins nothing: what the others gain is retention's."""


@app.command()
def figures(
    seeds: Seeds = 5,
    step_time: StepTime = "aiconfigurator",
    limit: Limit = None,
    max_turns: Turns = None,
    jobs: Jobs = 1,
) -> None:
    """Print one table per figure that has published values for policies."""
    for name in COMPARED:
        scenario = cs.find_scenario(name)
        settings = {**scenario.base, "step_time": step_time, "limit": limit, "max_turns": max_turns}
        result = cs.compare(list(scenario.policies), range(seeds), jobs=jobs, **settings)
        for figure in map(cs.find_published, scenario.figures):
            print(f"\n{figure.figure}, {figure.title} (`{name}`)\n")
            print(
                _table(
                    ("published as", "policy", "", "published", "ratio", "ours", "ratio"),
                    _beside(figure.points, result),
                )
            )


def _beside(points: Sequence[PublishedPoint], result: cs.CompareResult) -> Iterator[tuple[str, ...]]:
    """Yield a row for each published value, with ours, both also over those of the first policy; then ours alone."""
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


@app.command()
def turns(
    seeds: Seeds = 5,
    step_time: StepTime = "aiconfigurator",
    limit: Limit = None,
    max_turns: Turns = None,
    jobs: Jobs = 1,
) -> None:
    """Print Figure 14: the trace repeated, its token counts scaled down by as much, at the same rate."""
    scenario = cs.find_scenario("continuum-fig14-turns")
    settings = {**scenario.base, "step_time": step_time, "limit": limit, "max_turns": max_turns}
    rows = []
    for point in cs.find_published("fig14-turns").points:
        assert point.x is not None
        result = cs.compare(["lru", "ttl"], range(seeds), jobs=jobs, **settings, repeat_turns=point.x)
        stock, pinned = result.rows
        mean_turns = result.summaries[0].turns / result.summaries[0].programs
        seconds = (f"{stock.jct_mean_s:,.0f}", f"{pinned.jct_mean_s:,.0f}")
        ratio = stock.jct_mean_s / pinned.jct_mean_s
        rows.append((f"{point.x:g}", f"{mean_turns:.0f}", *seconds, f"~{point.value:.1f}", f"{ratio:.1f}"))
    print(_table(("turns ×", "mean turns", "`lru` s", "`ttl` s", "published ratio", "ours"), rows))


@app.command()
def chunks(
    seeds: Seeds = 2,
    step_time: StepTime = "aiconfigurator",
    limit: Limit = None,
    max_turns: Turns = None,
    jobs: Jobs = 1,
) -> None:
    """Print Figure 13: how the gain depends on the chunk size and on the number of running turns."""
    for name in ("continuum-fig13-chunk", "continuum-fig13-batch"):
        scenario = cs.find_scenario(name)
        (axis,) = scenario.grid.keys() - {"policy"}
        rows = []
        for value in scenario.grid[axis]:
            settings = {**scenario.base, axis: value, "step_time": step_time, "limit": limit, "max_turns": max_turns}
            stock, pinned = cs.compare(list(scenario.policies), range(seeds), jobs=jobs, **settings).rows
            seconds = (f"{stock.jct_mean_s:,.0f}", f"{pinned.jct_mean_s:,.0f}")
            rows.append((str(value), *seconds, f"{stock.jct_mean_s / pinned.jct_mean_s:.2f}"))
        print(f"\n{_table((axis, '`lru` s', '`ttl` s', 'lru / ttl'), rows)}")


@app.command()
def ablation(
    seeds: Seeds = 5,
    step_time: StepTime = "aiconfigurator",
    limit: Limit = None,
    max_turns: Turns = None,
    jobs: Jobs = 1,
) -> None:
    """Print what order, pins, cost models and foresight are worth, each alone."""
    columns = []
    for name in ABLATED:
        settings = {**cs.find_scenario(name).base, "step_time": step_time, "limit": limit, "max_turns": max_turns}
        columns.append(cs.compare(list(ABLATION), range(seeds), jobs=jobs, **settings).rows)
    rows = []
    for place, (policy, what) in enumerate(ABLATION.items()):
        cells = []
        for column in columns:
            cells += [f"{column[place].jct_mean_s:,.0f}", f"{column[place].jct_mean_s / column[0].jct_mean_s:.2f}"]
        rows.append((f"`{policy}`", what, *cells))
    heads = [head for name in ABLATED for head in (f"{name.removeprefix('continuum-')} s", "ratio")]
    print(_table(("policy", "what it is", *heads), rows))


@app.command()
def controls(
    seeds: Seeds = 5,
    step_time: StepTime = "roofline",
    limit: Limit = None,
    max_turns: Turns = None,
    jobs: Jobs = 1,
) -> None:
    """Print settings in which retention cannot gain: its JCT over that of the same order without pins."""
    settings = {**cs.find_scenario("plentiful-memory").base, "step_time": step_time}
    base = list(_cut(settings["trace"], limit, max_turns))
    scarce = {**settings, "arrivals": "poisson:rate=0.1"}
    rows = []
    for name, case in control_cases(base, scarce, settings).items():
        result = cs.compare(list(RETENTION), range(seeds), jobs=jobs, **case)
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
    """Return settings under which retention gains, then three under which it cannot."""
    return {
        "scarce memory (gains)": {**scarce, "trace": programs},
        "plentiful memory": {**plentiful, "trace": programs},
        "gaps of 10 minutes": {**scarce, "trace": [with_gaps(program, 600.0) for program in programs]},
        "no reuse": {**scarce, "trace": [without_reuse(program) for program in programs]},
    }


def with_gaps(program: Program, seconds: float) -> Program:
    """Return the program with every tool call as long as that."""
    *before, last = program.turns
    return replace(program, turns=(*(replace(turn, tool_s=seconds) for turn in before), last))


def without_reuse(program: Program) -> Program:
    """Return the program with nothing of a turn in the next prompt."""
    return replace(program, turns=tuple(replace(turn, kept_tokens=0) for turn in program.turns), shared_prefix=None)


def _cut(trace: str, limit: int | None, max_turns: int | None) -> Iterator[Program]:
    for program in read_programs(find_trace(trace), limit=limit):
        yield program if max_turns is None else truncate(program, max_turns)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    app()
