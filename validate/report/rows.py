"""Turn a validation's report into rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from continuum_sim.results.numbers import count, percent, seconds
from continuum_sim.results.view import Column, Marked, Note, Table, View, label, name

if TYPE_CHECKING:
    from continuum_sim.validate.judge.assess import Compared, PolicyReport, ValidationReport


def report_view(report: ValidationReport) -> View:
    """Return the report's view: how well the simulation predicted the engine."""
    of_policies = [Note(note, policy.policy) for policy in report.policies for note in policy.notes]
    return View(
        title="Simulation against a real engine",
        blocks=list(_tables(report)),
        notes=[*map(Note, report.notes), *of_policies],
        verdict=Marked(_verdict(report), "good" if report.passed else "bad"),
    )


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> Table:
    """Make a table whose first column names a row's subject, such as "JCT" or a column without a head."""
    kinds = {"JCT": label, "": name}
    columns = [name(heads[0]), *(kinds.get(head, Column)(head) for head in heads[1:])]
    return Table(columns, rows, title, note, groups=not heads[1])


def _tables(report: ValidationReport) -> Iterator[Table]:
    yield _jct(report)
    yield _ranking(report)
    yield _turns(report)
    if any(policy.pins for policy in report.policies):
        yield _pins(report)
    if any(policy.drafts for policy in report.policies):
        yield _drafts(report)
    if any(policy.error_split for policy in report.policies):
        yield _split(report)
        yield _reenacted(report)


def _verdict(report: ValidationReport) -> str:
    """Say in one line whether the tolerance was kept, and whether the predicted winner won."""
    worst = max(report.policies, key=lambda policy: abs(policy.jct_s["mean"].error))
    error = worst.jct_s["mean"].error
    kept = "every mean JCT is within" if report.passed else "a mean JCT is not within"
    ranking = report.ranking
    if len(ranking.measured) == 1:
        winner = ""
    elif ranking.winner_holds:
        winner = f"; {ranking.measured[0]} wins in both"
        winner += "" if ranking.winner_clear else ", though not beyond the noise of the repeats"
    else:
        winner = f"; {ranking.simulated[0]} wins in simulation but {ranking.measured[0]} on the engine"
    return f"{kept} {report.tolerance:.1%} (largest error {signed_percent(error)}, {worst.policy}){winner}"


def signed_percent(share: float) -> str:
    """Format a relative error with its sign."""
    if share == float("inf"):
        return "∞"
    rounded = round(100 * share, 1)
    return f"{rounded:+.1f} %".replace("-", "−") if rounded else "0.0 %"


def _jct(report: ValidationReport) -> Table:
    rows = []
    for policy in report.policies:
        for statistic, number in policy.jct_s.items():
            first = statistic == "mean"
            rows.append(
                [
                    policy.policy if first else "",
                    statistic,
                    seconds(number.simulated),
                    _interval(number),
                    signed_percent(number.error),
                    percent(policy.noise) if first else "",
                    _yes(policy.within_tolerance) if first else "",
                ]
            )
    columns = ("policy", "JCT", "simulated s", "measured s [95 %]", "error", "repeat noise", "within")
    note = "repeat noise: largest less smallest mean JCT of the repeats, as a share of their mean"
    return table("Job completion times", columns, rows, note)


def _ranking(report: ValidationReport) -> Table:
    ranking = report.ranking
    found = {improvement.policy: improvement for improvement in ranking.improvements}
    rows = []
    for policy in ranking.measured:
        improvement = found.get(policy)
        row = [policy, str(ranking.simulated.index(policy) + 1), str(ranking.measured.index(policy) + 1)]
        if improvement is None:
            rows.append([*row, "baseline", "", ""])
            continue
        measured = improvement.measured
        low, high = signed_percent(-measured.high), signed_percent(-measured.low)
        rows.append(
            [
                *row,
                signed_percent(-improvement.simulated),
                f"{signed_percent(-measured.value)} [{low}, {high}]",
                _yes(improvement.same_sign),
            ]
        )
    tau = "" if ranking.kendall_tau is None else f"Kendall τ of the two rankings: {ranking.kendall_tau:.2f}"
    columns = ("policy", "rank simulated", "rank measured", "mean JCT simulated", "measured [95 %]", "same sign")
    return table(f"Ranking and change against {ranking.baseline}", columns, rows, tau)


def _turns(report: ValidationReport) -> Table:
    rows = [
        [
            policy.policy,
            _both(policy.ttft_mean_s, seconds),
            _both(policy.ttft_p95_s, seconds),
            _both(policy.cached_tokens, count),
            _agreement(policy.cached_equal, policy.cached_equal_repeats),
            _agreement(policy.fates_equal, policy.fates_equal_repeats),
            _both(policy.preemptions, count),
            _both(policy.output_tokens_per_s, seconds),
        ]
        for policy in report.policies
    ]
    columns = (
        *("policy", "TTFT mean s", "TTFT p95 s", "cached tokens", "same cached (repeats)", "same fate (repeats)"),
        *("preemptions", "output tokens/s"),
    )
    note = (
        "simulated / measured. Same cached: turns with exactly the same cached tokens in simulation and measurement; "
        "same fate: turns whose blocks were released, or whose pin was hit, expired or broken, in both; "
        "in brackets the same between two repeats of the measurement"
    )
    return table("Turns", columns, rows, note)


def _pins(report: ValidationReport) -> Table:
    names = ("pins_made", "pins_hit", "pins_expired", "pins_broken")
    rows = [
        [policy.policy, *(_both(policy.pins[name], count) for name in names)]
        for policy in report.policies
        if policy.pins
    ]
    return table("Pins", ("policy", *(name[5:] for name in names)), rows, "simulated / measured, mean of a run")


def _drafts(report: ValidationReport) -> Table:
    names = ("verifications", "drafted_tokens", "accepted_tokens")
    rows = [
        [
            policy.policy,
            _both(policy.steps, count),
            *(_both(policy.drafts[name], count) for name in names),
            _both(policy.drafts["tokens_per_step"], lambda tokens: f"{tokens:.3f}"),
        ]
        for policy in report.policies
        if policy.drafts
    ]
    note = (
        "simulated / measured. Steps of turns: those that verify drafts, or would if the drafter had found any; the "
        "simulator has it find all"
    )
    columns = ("policy", "steps", "steps of turns", "drafted tokens", "accepted", "tokens of a turn's step")
    return table("Drafts", columns, rows, note)


def _split(report: ValidationReport) -> Table:
    rows = []
    for policy in report.policies:
        split = policy.error_split
        if split is not None:
            parts = (policy.jct_s["mean"].error, split.step_time, split.timing, split.scheduling, split.cache)
            rows.append([policy.policy, *map(signed_percent, parts), _pace(policy)])
    note = (
        "shares of the measured mean JCT. Step time: gone when simulated with step times fitted to the runs' own "
        "steps; scheduling and cache: there even when simulated with the engine's own step times and gaps (below); "
        "timing: the rest. Engine pace: measured over modelled time of all steps"
    )
    return table(
        "Where the error comes from",
        ("policy", "error", "step time", "timing", "scheduling", "cache", "engine pace"),
        rows,
        note,
    )


def _reenacted(report: ValidationReport) -> Table:
    rows = [
        [
            policy.policy,
            signed_percent(again.jct_error),
            _agreement(again.same_steps, None),
            _agreement(again.cached_equal, None),
            _agreement(again.fates_equal, None),
        ]
        for policy in report.policies
        if (again := policy.reenacted) is not None
    ]
    note = (
        "each run once more in the simulator, with the duration of every step and every gap as the engine logged them: "
        "only decisions can differ. Same steps: steps of the engine with the same batch in the same order"
    )
    columns = ("policy", "error of mean JCT", "same steps", "same cached", "same fate")
    return table("With the engine's own step times", columns, rows, note)


def _pace(policy: PolicyReport) -> str:
    return "" if policy.engine_pace is None else f"{policy.engine_pace:.3f}"


def _interval(number: Compared) -> str:
    measured = number.measured
    return f"{seconds(measured.value)} [{seconds(measured.low)}, {seconds(measured.high)}]"


def _both(number: Compared | None, show: Callable[[float], str]) -> str:
    return "unknown" if number is None else f"{show(number.simulated)} / {show(number.measured.value)}"


def _agreement(share: float | None, among_repeats: float | None) -> str:
    if share is None:
        return "unknown"
    return f"{100 * share:.1f} %" + ("" if among_repeats is None else f" ({100 * among_repeats:.1f} %)")


def _yes(so: bool) -> Marked:
    return Marked("yes", "good") if so else Marked("NO", "bad")
