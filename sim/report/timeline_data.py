"""The data of the page's timeline: bounded in size for any run, with notes on what was left out."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from continuum_sim.report.averages import Array, average_of, average_open, time_edges
from continuum_sim.results.decisions import iter_decisions
from continuum_sim.results.files import DECISIONS
from continuum_sim.results.result import RunResult
from continuum_sim.tracks.export import engines_of
from continuum_sim.tracks.pins import PinEnd, pin_spans
from continuum_sim.tracks.rundir import outlasts_admission

MOST_TURNS: Final = 20_000
"""Most turns drawn one by one; of a longer run, programs are chosen that have about this many turns."""
MOST_BINS: Final = 2_000
"""Most points of a curve over time: more than a screen has columns."""
_SLOWEST: Final = 10
"""Slowest programs, which are always shown."""
_ENDS: Final[tuple[PinEnd, ...]] = ("hit", "expired", "broken", "moved", "offloaded", "held")


def timeline_data(run: RunResult, *, most_turns: int = MOST_TURNS, most_bins: int = MOST_BINS) -> dict[str, Any]:
    """Return what the page draws of a run, as JSON can hold it.

    Parameters
    ----------
    most_turns
        Most turns to draw one by one. Of a run with more, only some programs are drawn: the slowest ten, and every n-th
        of the others in order of arrival. The curves always cover the whole run.
    most_bins
        Most points of a curve.

    Raises
    ------
    ConfigError
        If the run did not keep its tables.
    """
    programs: pd.DataFrame = run.table("programs").to_pandas().sort_values(["arrival_s", "program"], ignore_index=True)
    chosen = _choose(programs, most_turns)
    notes = []
    if len(chosen) < len(programs):
        notes.append(
            f"{len(chosen):,} of {len(programs):,} programs are drawn one by one: the slowest {_SLOWEST}, and the "
            "others in even steps of their arrival. The curves are of the whole run."
        )
    shown = programs.iloc[chosen].reset_index(drop=True)
    number = pd.Series(shown.index, index=shown["program"])
    turns = run.table("turns").to_pandas()
    end_s = max(run.summary.sim_s, float(programs["finish_s"].max()))
    engine, engine_note = _engine(run, end_s, most_bins)
    pins, pins_note = _pins(run, number)
    states, states_note = _states(turns, end_s, most_bins)
    tools, of_turns = _turns(turns[turns["program"].isin(number.index)], number)
    return {
        "name": run.summary.policy,
        "seed": run.summary.seed,
        "end_s": end_s,
        "usable_blocks": sum(usable for _, usable in engines_of(run.summary)),
        "programs": {
            "names": shown["program"].tolist(),
            "of": len(programs),
            **{name: column(shown[f"{name}_s"], "f8") for name in ("arrival", "finish", "jct")},
            "turns": column(shown["turns"], "u4"),
        },
        "turns": of_turns,
        "reloads": _reloads(turns),
        "tools": tools,
        "pins": pins,
        "pin_ends": list(_ENDS),
        "engine": engine,
        "states": states,
        "notes": [note for note in (*notes, states_note, engine_note, pins_note) if note],
    }


def column(values: Any, kind: Literal["f8", "f4", "u4"]) -> list[str]:
    """Return `[kind, base64]`, which JavaScript reads without parsing digits: 64- or 32-bit floats, or integers."""
    return [kind, b64encode(np.ascontiguousarray(values, dtype=f"<{kind}").tobytes()).decode("ascii")]


def _choose(programs: pd.DataFrame, most_turns: int) -> npt.NDArray[np.int64]:
    """Return the positions of the programs to draw, in order."""
    if programs["turns"].sum() <= most_turns:
        return np.arange(len(programs))
    slowest = np.argsort(-programs["jct_s"].to_numpy(), kind="stable")[:_SLOWEST]
    others = np.setdiff1d(np.arange(len(programs)), slowest)
    left = most_turns - int(programs["turns"].iloc[slowest].sum())
    count = max(0, int(len(others) * left / max(1, int(programs["turns"].iloc[others].sum()))))
    even = others[np.linspace(0, len(others) - 1, count).round().astype(int)] if count else others[:0]
    return np.unique(np.concatenate([slowest, even]))


def _turns(turns: pd.DataFrame, number: pd.Series) -> tuple[list[str], dict[str, Any]]:
    """Return the names of the tools, and the turns as columns, program by program in the order of `number`."""
    turns = turns.assign(number=turns["program"].map(number)).sort_values(["number", "turn"])
    tool, names = pd.factorize(turns["tool"].fillna(""))
    where = [name for name in ("replica", "reloaded_tokens") if name in turns]
    reload_s = turns["reload_s"] if "reload_s" in turns else np.zeros(len(turns))
    counts = ("turn", *where, "prompt_tokens", "output_tokens", "cached_tokens", "recomputed_tokens", "preemptions")
    return [str(name) for name in names], {
        "program": column(turns["number"], "u4"),
        "arrival": column(turns["arrival_s"], "f8"),
        # Durations instead of instants: for these, 32 bits are enough however long the run is.
        "queued": column(turns["scheduled_s"] - turns["arrival_s"] - reload_s, "f4"),
        "reload": column(reload_s, "f4"),
        "prefill": column(turns["first_token_s"] - turns["scheduled_s"], "f4"),
        "decode": column(turns["finish_s"] - turns["first_token_s"], "f4"),
        "tool_s": column(turns["tool_s"], "f4"),
        "tool": column(tool, "u4"),
        **{name: column(turns[name], "u4") for name in counts},
    }


def _states(turns: pd.DataFrame, end_s: float, most_bins: int) -> tuple[dict[str, Any], str]:
    """Return how many programs are in each state over the whole run."""
    arrival_s, scheduled_s, first_token_s, finish_s = (
        turns[name].to_numpy() for name in ("arrival_s", "scheduled_s", "first_token_s", "finish_s")
    )
    back_s = finish_s + turns["tool_s"].to_numpy()
    loading_s = scheduled_s - (turns["reload_s"].to_numpy() if _reloads(turns) else 0.0)
    instants_s = np.concatenate([arrival_s, loading_s, scheduled_s, first_token_s, back_s])
    edges_s, exact = time_edges(instants_s, end_s, most_bins)
    parts = {
        "queued": (arrival_s, loading_s),
        "reload": (loading_s, scheduled_s),
        "prefill": (scheduled_s, first_token_s),
        "decode": (first_token_s, finish_s),
        "tool": (finish_s, back_s),
    }
    states = {name: column(average_open(edges_s, *interval), "f4") for name, interval in parts.items()}
    return {"edges": column(edges_s, "f8"), **states}, _binned("Programs by state", edges_s, exact)


def _reloads(turns: pd.DataFrame) -> bool:
    """Return True if any turn waited for blocks from a memory tier."""
    return "reload_s" in turns and bool((turns["reload_s"] > 0).any())


def _engine(run: RunResult, end_s: float, most_bins: int) -> tuple[dict[str, Any], str]:
    """Return batch, queue and blocks over time. A timeline row's batch holds during it, its blocks from its end on."""
    table = run.table("timeline").to_pandas()
    edges_s, exact = time_edges(table[["start_s", "end_s"]].to_numpy().ravel(), end_s, most_bins)
    total: dict[str, Array] = {}
    for replica, (_, usable) in enumerate(engines_of(run.summary)):
        rows = table[table["replica"] == replica] if "replica" in table else table
        for name, curve in _engine_curves(rows, usable, edges_s).items():
            total[name] = total.get(name, 0.0) + curve
    columns = {name: column(np.maximum(curve, 0.0), "f4") for name, curve in total.items()}
    return {"edges": column(edges_s, "f8"), **columns}, _binned("Batch, queue and KV blocks", edges_s, exact)


def _engine_curves(table: pd.DataFrame, usable: int, edges_s: Array) -> dict[str, Array]:
    """Return the averages of one engine over the bins."""
    start_s, stop_s = table["start_s"].to_numpy(), table["end_s"].to_numpy()
    since_s, until_s = np.append(0.0, stop_s), np.append(stop_s, max(edges_s[-1], stop_s.max(initial=0.0)))

    def blocks(name: str, at_first: int) -> Array:
        return np.append(float(at_first), table[f"{name}_blocks"].to_numpy(dtype=float))

    free, pinned, cached = blocks("free", usable), blocks("pinned", 0), blocks("cached", 0)
    held = {"kv_running": usable - free - pinned, "kv_pinned": pinned, "kv_cached": cached}
    curves = {name: average_of(edges_s, since_s, until_s, values) for name, values in held.items()}
    for name in ("running", "waiting"):
        curves[name] = average_of(edges_s, start_s, stop_s, table[name].to_numpy(dtype=float))
    return curves


def _pins(run: RunResult, number: pd.Series) -> tuple[dict[str, Any] | None, str]:
    """Return the pins of the programs drawn, which only a decision log has, and a note if they are missing."""
    path = None if run.directory is None else Path(run.directory) / DECISIONS
    if path is None or not path.is_file():
        made = run.summary.pins.made
        return None, "Pins are not drawn by program: the run has no decisions.jsonl (see --decisions)." if made else ""
    spans = pin_spans(iter_decisions(path), outlasts_admission=outlasts_admission(run))
    rows = [
        (number[span.program], span.turn, span.start_s, span.end_s - span.start_s, span.ttl_s, _ENDS.index(span.end))
        for span in spans
        if span.program in number.index
    ]
    rows.sort()
    program, turn, start_s, length_s, ttl_s, end = zip(*rows, strict=True) if rows else ((),) * 6
    return {
        "program": column(program, "u4"),
        "turn": column(turn, "u4"),
        "start": column(start_s, "f8"),
        "length": column(length_s, "f4"),
        "ttl": column(ttl_s, "f4"),
        "end": column(end, "u4"),
    }, ""


def _binned(what: str, edges_s: Array, exact: bool) -> str:
    return "" if exact else f"{what}: each point is the average over {edges_s[1] - edges_s[0]:.3g} s."
