"""`cs.tune`: the best parameters, the same ones every time, judged on seeds the search has not seen."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import continuum_sim as cs
from continuum_sim.policies import PRESETS, find_preset
from continuum_sim.setup.notation import load_plugins
from continuum_sim.sweeps import run as sweep_run
from continuum_sim.sweeps.search_space import Choice, Span, default_values, search_space
from support.programs import program, turn
from support.steptimes import affine

pytest.importorskip("optuna", reason="needs the extra tune")

GAP_S = 7.0
"""Every tool of `RETURNING` takes this long: a shorter pin holds memory in vain."""
RETURNING = [
    program(f"p{n}", *[turn(160 + 40 * k, 8, gap=GAP_S) for k in range(4)], turn(330, 8), at=2.0 * n) for n in range(8)
]
TINY: dict[str, Any] = {
    "trace": RETURNING,
    "step_time": affine(),
    "kv_blocks": 60,
    "jobs": 1,
    "arrivals": "poisson:rate=1",
}
FAST: dict[str, Any] = {**TINY, "trials": 5, "seeds": [0, 1], "holdout": [2, 3]}


def space(name: str, asked: dict[str, str | None] | None = None, **fixed: Any) -> Any:
    return search_space(find_preset(name), asked or {}, fixed)


load_plugins()


def tunable() -> list[str]:
    """Policies with a parameter to tune."""
    found = []
    for name in sorted(PRESETS):
        with suppress(cs.ConfigError):
            space(name)
            found.append(name)
    return found


def test_most_policies_can_be_tuned() -> None:
    assert {"ttl", "ttl-static", "concur", "mars", "saga", "thunderagent", "autellix"} <= set(tunable())


@pytest.mark.parametrize("name", tunable())
def test_every_range_a_policy_states_makes_sense(name: str) -> None:
    preset = find_preset(name)
    defaults = default_values(preset)
    for parameter, item in space(name).items():
        if defaults[parameter] is not None:
            assert item.holds(defaults[parameter]), f"{parameter}: the default is outside {item}"
        if (name, parameter) in {("mars", "overload"), ("mars", "clear")}:
            continue  # an upper and a lower mark: not every pair goes together
        for value in (item.low, item.high) if isinstance(item, Span) else item.values:
            built = cs.parse_policy(f"{name}:{parameter}={item.value(value)}")
            assert built.name.startswith(name)


def test_ranges_are_read_from_the_policy_or_from_text() -> None:
    assert space("ttl-static") == {
        "pressure": Choice(("head", "deadlock", "younger")),
        "ttl": Span(0.1, 100.0, log=True, whole=False),
    }
    assert space("ttl-static", pressure="head").keys() == {"ttl"}
    assert space("ttl-static", {"ttl": None}).keys() == {"ttl"}
    assert space("ttl-static", {"ttl": "1:5"}) == {"ttl": Span(1.0, 5.0, log=False, whole=False)}
    assert space("ttl-static", {"ttl": "1|2|4"}) == {"ttl": Choice((1.0, 2.0, 4.0))}
    assert space("ttl-static", {"pressure": "head|younger"}) == {"pressure": Choice(("head", "younger"))}
    assert space("ttl", {"cold_start": "1:64:log"}) == {"cold_start": Span(1.0, 64.0, log=True, whole=True)}


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("ttl-static", {"tll": None}, "unknown parameter 'tll' of policy ttl-static, did you mean 'ttl'"),
        ("ttl-static", {"ttl": "5:1"}, "with LOW below HIGH"),
        ("ttl-static", {"ttl": "1:5:lin"}, "is not LOW:HIGH"),
        ("ttl-static", {"ttl": "0:5:log"}, "needs LOW above 0"),
        ("ttl-static", {"pressure": "0:5"}, "takes no numbers"),
        ("ttl-static", {"pressure": "tail"}, "'tail' is not one of head, deadlock, younger"),
        ("ttl-static", {"ttl": "a|b"}, "'a' is not a valid float"),
        ("ttl", {"cold_start": "0.5:4"}, "needs whole bounds"),
        ("lru", {}, "policy lru has no parameter to tune"),
        ("infercept", {"saturation": None}, "parameter saturation of infercept states no range"),
    ],
)
def test_a_range_that_cannot_work_is_refused(name: str, asked: dict[str, str | None], said: str) -> None:
    with pytest.raises(cs.ConfigError, match=said):
        space(name, asked)


def test_numbers_tried_are_short_and_within_the_bounds() -> None:
    span = Span(0.1, 0.99999, log=True, whole=False)
    assert span.value(0.123456789) == 0.1235
    assert span.value(0.999989) == 0.99999
    assert Span(1, 64, log=True, whole=True).value(17) == 17


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[cs.Tuned, Path]:
    out = tmp_path_factory.mktemp("tune") / "t"
    return cs.tune("ttl-static", {"ttl": "0.5:20:log"}, out=out, **FAST), out


def test_the_first_trial_is_the_default_and_the_best_one_wins(found: tuple[cs.Tuned, Path]) -> None:
    tuned, _ = found
    assert [trial.number for trial in tuned.trials] == [0, 1, 2, 3, 4]
    assert tuned.trials[0].parameters == {"ttl": 2.0}
    values = [trial.value_s for trial in tuned.trials]
    assert (
        min(v for v in values if v is not None) == values[[t.parameters for t in tuned.trials].index(tuned.parameters)]
    )
    assert tuned.best == f"ttl-static:ttl={tuned.parameters['ttl']}"
    assert tuned.tuning[0].difference_s <= 0


def test_a_trial_is_the_mean_jct_of_its_runs(found: tuple[cs.Tuned, Path]) -> None:
    tuned, _ = found
    trial = tuned.trials[3]
    settings = {name: value for name, value in TINY.items() if name != "jobs"}
    policy = f"ttl-static:ttl={trial.parameters['ttl']}"
    jct_s = [cs.run(policy=policy, seed=seed, **settings).programs["jct_s"] for seed in (0, 1)]
    assert trial.value_s == pytest.approx(np.concatenate(jct_s).mean())


def test_held_out_seeds_judge_the_best_against_the_default(found: tuple[cs.Tuned, Path]) -> None:
    tuned, out = found
    settings = {name: value for name, value in TINY.items() if name != "jobs"}
    compared = cs.compare(["ttl-static", tuned.best], [2, 3], **settings)
    assert tuned.held_out == compared.paired
    assert {seed for trial in tuned.trials for seed in tuned.tuning_seeds} == {0, 1}
    rows = cs.load_sweep(out).frame()
    held_out = set(rows.loc[rows["seed"].isin([2, 3]), "policy"])
    assert held_out == {"ttl-static", tuned.best}


def test_a_search_of_a_length_is_judged_on_programs_drawn_anew() -> None:
    asked = {**FAST, "trials": 1, "holdout": range(100, 105), "programs": 12}
    tuned = cs.tune("ttl-static", {"ttl": "0.5:20:log"}, **asked)
    assert {(item.runs, item.drawn, item.verdict) for item in tuned.held_out} == {(5, True, "equal")}
    assert "each of 5 runs drew its own programs" in repr(tuned.view())
    replayed = cs.tune("ttl-static", {"ttl": "0.5:20:log"}, **{**asked, "population": "trace"})
    assert {item.drawn for item in replayed.held_out} == {False}


def test_the_directory_holds_the_result_and_every_run(found: tuple[cs.Tuned, Path]) -> None:
    tuned, out = found
    assert (out / "tuned.json").read_text() == tuned.to_json()
    assert json.loads(tuned.to_json())["held_out"][0]["metric"] == "mean"
    policies = set(cs.load_sweep(out).frame()["policy"])
    assert {f"ttl-static:ttl={trial.parameters['ttl']}" for trial in tuned.trials} <= policies
    assert tuned.frame["ttl"].tolist() == [trial.parameters["ttl"] for trial in tuned.trials]


def test_the_same_seed_tries_the_same_settings(found: tuple[cs.Tuned, Path]) -> None:
    again = cs.tune("ttl-static", {"ttl": "0.5:20:log"}, **FAST)
    assert again.to_json() == found[0].to_json()
    other = cs.tune("ttl-static", {"ttl": "0.5:20:log"}, seed=1, **FAST)
    assert [t.parameters for t in other.trials[1:]] != [t.parameters for t in again.trials[1:]]


@pytest.mark.parametrize("after", [0, 3, 5, 11])
def test_an_interrupted_search_ends_as_if_it_had_not_been(
    found: tuple[cs.Tuned, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    inner, seen = sweep_run.run_cell, list[str]()

    def run_cell(cell: Any) -> Any:
        if len(seen) == after:
            raise KeyboardInterrupt
        seen.append(cell.id)
        return inner(cell)

    monkeypatch.setattr(sweep_run, "run_cell", run_cell)
    with pytest.raises(KeyboardInterrupt):
        cs.tune("ttl-static", {"ttl": "0.5:20:log"}, out=tmp_path / "t", **FAST)
    monkeypatch.setattr(sweep_run, "run_cell", inner)
    resumed = cs.tune("ttl-static", {"ttl": "0.5:20:log"}, out=tmp_path / "t", **FAST)
    assert resumed.to_json() == found[0].to_json()


def test_more_trials_go_on_from_those_there_are(
    found: tuple[cs.Tuned, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cs.tune("ttl-static", {"ttl": "0.5:20:log"}, out=tmp_path / "t", **{**FAST, "trials": 2})
    more = cs.tune("ttl-static", {"ttl": "0.5:20:log"}, out=tmp_path / "t", **FAST)
    assert more.to_json() == found[0].to_json()


def test_a_search_killed_while_it_wrote_its_journal_goes_on(found: tuple[cs.Tuned, Path], tmp_path: Path) -> None:
    cs.tune("ttl-static", {"ttl": "0.5:20:log"}, out=tmp_path / "t", **{**FAST, "trials": 2})
    (tmp_path / "t" / "study.jsonl.lock").touch()
    with (tmp_path / "t" / "study.jsonl").open("ab") as journal:
        journal.write(b'{"op_code":4,"worker')
    more = cs.tune("ttl-static", {"ttl": "0.5:20:log"}, out=tmp_path / "t", **FAST)
    assert more.to_json() == found[0].to_json()


def test_another_search_does_not_mix_with_this_one(found: tuple[cs.Tuned, Path]) -> None:
    _, out = found
    with pytest.raises(cs.ConfigError, match="holds a search with another ranges"):
        cs.tune("ttl-static", {"ttl": "0.5:21:log"}, out=out, **FAST)
    with pytest.raises(cs.ConfigError, match="holds a search with another load and engine"):
        cs.tune("ttl-static", {"ttl": "0.5:20:log"}, out=out, **{**FAST, "kv_blocks": 61})


def test_settings_that_do_not_work_are_no_result() -> None:
    """mars refuses an upper mark below its lower one."""
    tuned = cs.tune("mars", {"overload": "0.7:1", "clear": "0.6:0.95"}, **{**FAST, "trials": 12})
    failed = [trial for trial in tuned.trials if trial.value_s is None]
    assert failed
    assert all("clear is" in trial.reason for trial in failed)
    assert tuned.parameters["clear"] <= tuned.parameters["overload"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"trials": 0}, "trials is 0"),
        ({"metric": "worst"}, "metric is 'worst', expected one of mean, p50"),
        ({"holdout": [1, 2]}, "seed 1 is both tuned on and held out"),
        ({"holdout": []}, "give both --seeds and --holdout"),
        ({"kv_blocks": 5}, "KV blocks of 16 tokens, but the engine has 4 usable"),
    ],
)
def test_what_cannot_work_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(cs.ConfigError, match=said):
        cs.tune("ttl-static", **{**FAST, **changed})


def test_a_longer_pin_is_found_where_tools_take_longer_than_the_default() -> None:
    """Pins of the default 2 s never last until the tools return after 7 s; longer ones do."""
    tuned = cs.tune("ttl-static", {"ttl": "0.5:20:log"}, **{**FAST, "trials": 12, "metric": "p90"})
    assert tuned.parameters["ttl"] != 2.0
    assert tuned.held_out[0].pairs == 16
