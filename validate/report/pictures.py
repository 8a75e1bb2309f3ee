"""The figures of a validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from continuum_sim.plotting.style import BLUE, GREEN, ORANGE, PURPLE, SKY, new_figure, picture_bytes
from continuum_sim.steptime.model import StepTime
from continuum_sim.validate.judge.assess import ValidationReport
from continuum_sim.validate.judge.observed import Observation, PolicyObservations
from continuum_sim.validate.judge.statistics import Array

_SIMULATED, _MEASURED = BLUE, ORANGE
_PART_COLOURS = {"step_time": SKY, "cache": GREEN, "scheduling": PURPLE}


def draw_all(
    report: ValidationReport, observations: Sequence[PolicyObservations], step_time: StepTime
) -> dict[str, bytes]:
    """Draw every figure; return name to PNG."""
    pictures = {
        "jct": draw_jct(report),
        "programs": draw_programs(observations),
        "distribution": draw_distributions(observations),
    }
    if any(policy.error_split for policy in report.policies):
        pictures["error_split"] = draw_split(report)
    if any(run.steps for one in observations for run in one.measured):
        pictures["steps"] = draw_steps(observations, step_time)
    return pictures


def draw_jct(report: ValidationReport) -> bytes:
    """Draw mean and p95 JCT by policy, with the interval of the measurement."""
    figure, axes = _figure(1, 2, height=0.9 + 0.55 * len(report.policies))
    names = [policy.policy for policy in report.policies]
    at = np.arange(len(names))
    for axis, statistic in zip(axes, ("mean", "p95"), strict=True):
        numbers = [policy.jct_s[statistic] for policy in report.policies]
        values = [n.measured.value for n in numbers]
        ends = [
            [n.measured.value - n.measured.low for n in numbers],
            [n.measured.high - n.measured.value for n in numbers],
        ]
        axis.barh(at - 0.19, [n.simulated for n in numbers], 0.36, color=_SIMULATED, label="simulated")
        axis.barh(at + 0.19, values, 0.36, color=_MEASURED, xerr=ends, capsize=3, label="measured, 95 % interval")
        axis.set_yticks(at, names)
        axis.invert_yaxis()
        axis.set(xlabel=f"{statistic} JCT (s)")
    # Above the bars, because inside it would cover one of them.
    axes[0].legend(fontsize="small", loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    axes[1].set_yticks(at, [""] * len(names))
    return _png(figure)


def draw_programs(observations: Sequence[PolicyObservations]) -> bytes:
    """Draw measured against simulated JCT, one point per program, with the range over repeats."""
    figure, axes = _figure(1, len(observations), height=3.3)
    for axis, one in zip(axes, observations, strict=True):
        simulated = np.mean([run.jct_s for run in one.simulated], axis=0)
        repeats = np.array([run.jct_s for run in one.measured])
        middle = repeats.mean(axis=0)
        ends = [middle - repeats.min(axis=0), repeats.max(axis=0) - middle]
        axis.errorbar(simulated, middle, yerr=ends, fmt="o", ms=4, lw=0.8, color=_MEASURED, ecolor="grey")
        most = 1.05 * max(float(simulated.max()), float(repeats.max()))
        axis.plot([0, most], [0, most], color="black", lw=0.8)
        axis.set(xlim=(0, most), ylim=(0, most), xlabel="simulated JCT (s)", title=one.policy)
        axis.set_aspect("equal")
    axes[0].set(ylabel="measured JCT (s)")
    return _png(figure)


def draw_distributions(observations: Sequence[PolicyObservations]) -> bytes:
    """Draw the distribution of JCT by policy: every simulated draw and every measured repeat."""
    figure, axes = _figure(1, len(observations), height=3.0)
    for axis, one in zip(axes, observations, strict=True):
        for runs, colour, label in ((one.simulated, _SIMULATED, "simulated"), (one.measured, _MEASURED, "measured")):
            for number, run in enumerate(runs):
                jct_s = np.sort(run.jct_s)
                share = np.arange(1, len(jct_s) + 1) / len(jct_s)
                axis.step(jct_s, share, where="post", color=colour, lw=1, alpha=0.7, label=None if number else label)
        axis.set(xlabel="JCT (s)", title=one.policy, ylim=(0, 1.02))
    axes[0].set(ylabel="share of programs")
    axes[0].legend(fontsize="small")
    return _png(figure)


def draw_split(report: ValidationReport) -> bytes:
    """Draw the parts of the mean JCT's error, side by side."""
    figure, axes = _figure(1, 1, height=0.9 + 0.55 * len(report.policies))
    axis = axes[0]
    policies = [policy for policy in report.policies if policy.error_split is not None]
    at = np.arange(len(policies))
    for number, (part, colour) in enumerate(_PART_COLOURS.items()):
        sizes = [100 * getattr(policy.error_split, part) for policy in policies]
        axis.barh(at + 0.24 * (number - 1), sizes, 0.22, color=colour, label=part.replace("_", " "))
    axis.plot([100 * policy.jct_s["mean"].error for policy in policies], at, "kD", ms=5, label="whole error")
    axis.axvline(0, color="black", lw=0.8)
    for side in (-1, 1):
        axis.axvline(100 * side * report.tolerance, color="grey", lw=0.8, ls="--")
    axis.set_yticks(at, [policy.policy for policy in policies])
    axis.invert_yaxis()
    axis.set(xlabel="error of the mean JCT (% of measured; dashed: tolerance)")
    axis.legend(fontsize="small")
    return _png(figure)


def draw_steps(observations: Sequence[PolicyObservations], step_time: StepTime) -> bytes:
    """Draw the engine's speed over time against the model: 1 is as calibrated."""
    figure, axes = _figure(1, 1, height=3.0)
    axis = axes[0]
    for number, one in enumerate(observations):
        colour = f"C{number}"
        for repeat, run in enumerate(one.measured):
            if run.steps:
                minutes, pace = _pace_over_time(run, step_time)
                axis.plot(minutes, pace, "-", lw=1, color=colour, alpha=0.7, label=None if repeat else one.policy)
    axis.axhline(1, color="black", lw=0.8)
    axis.set(xlabel="minutes since the first run", ylabel="measured / modelled step time")
    axis.legend(fontsize="small")
    first_s = min(run.steps[0].end_s for one in observations for run in one.measured if run.steps)
    for line in axis.get_lines()[:-1]:
        line.set_xdata((np.asarray(line.get_xdata(), dtype=float) - first_s) / 60)
    axis.relim()
    axis.autoscale_view()
    return _png(figure)


def _pace_over_time(run: Observation, step_time: StepTime) -> tuple[Array, Array]:
    """Return the pace over about forty stretches of equally many steps per run; times on the log's own clock."""
    end_s = np.array([step.end_s for step in run.steps])
    measured = np.array([step.seconds for step in run.steps])
    modelled = np.array([step_time.step_s(step.batch) for step in run.steps])
    cuts = np.linspace(0, len(end_s), min(40, len(end_s)) + 1).astype(int)[:-1]
    sums = np.add.reduceat(measured, cuts) / np.add.reduceat(modelled, cuts)
    return np.maximum.reduceat(end_s, cuts), sums


def _figure(rows: int, columns: int, *, height: float) -> tuple[Any, list[Any]]:
    figure = new_figure(max(7.0, min(3.4 * columns, 16.0)), height)
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def _png(figure: Any) -> bytes:
    return picture_bytes(figure, "png", dpi=120)
