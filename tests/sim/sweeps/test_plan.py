"""The cells of a sweep, and when two are the same."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest

import continuum_sim as cs
from continuum_sim.policies import PRESETS, Policy, Retention
from continuum_sim.policies.planes import Decision, PinFor
from continuum_sim.policies.views import Moment, ProgramView
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.sweeps.plan import SweepPlan, SweepSpec, plan_sweep
from continuum_sim.sweeps.settings import RATE, kinds, read_values
from continuum_sim.sweeps.spec_file import read_spec
from continuum_sim.traces.arrivals import Gamma
from support.programs import program, turn
from support.steptimes import affine


def plan(grid: dict[str, Any] | None = None, cells: Any = (), **base: Any) -> SweepPlan:
    return plan_sweep(SweepSpec(base, grid or {}, cells))


def asked(found: SweepPlan, *names: str) -> list[tuple[Any, ...]]:
    """Some settings of every cell, in order."""
    return [tuple(cell.settings.get(name) for name in names) for cell in found.cells]


def one(**base: Any) -> str:
    return plan(**base).cells[0].id


def test_cells_are_the_product_of_the_axes_with_seeds_innermost() -> None:
    found = plan({"seed": "0-1", "policy": "lru,ttl", "kv_blocks": [4000, 8000]})
    assert asked(found, "kv_blocks", "policy", "seed") == [
        (blocks, policy, seed) for blocks in (4000, 8000) for policy in ("lru", "ttl") for seed in (0, 1)
    ]


def test_entries_are_crossed_with_the_grid_and_override_it() -> None:
    entries = [{"gpu": "h100", "rate": [0.1, 0.2]}, {"gpu": "a100-80", "policy": "fcfs"}]
    found = plan({"policy": ["lru", "ttl"], "seed": [7]}, entries, limit=5)
    assert asked(found, "gpu", "rate", "policy") == [
        ("h100", 0.1, "lru"),
        ("h100", 0.1, "ttl"),
        ("h100", 0.2, "lru"),
        ("h100", 0.2, "ttl"),
        ("a100-80", None, "fcfs"),
    ]
    assert {(cell.config.seed, cell.config.limit) for cell in found.cells} == {(7, 5)}


def test_a_cell_that_is_asked_for_twice_is_one() -> None:
    assert len(plan({"policy": ["lru", "lru"], "seed": "1,0-2"}).cells) == 3


def test_policies_see_the_same_seeds_and_loads() -> None:
    found = plan({"policy": "fcfs,lru,ttl", "rate": "0.1,0.2", "seed": "0-4"})
    loads: dict[str, set[Any]] = {}
    for cell in found.cells:
        loads.setdefault(cell.settings["policy"], set()).add((cell.config.arrivals, cell.config.seed))
    assert loads["fcfs"] == loads["lru"] == loads["ttl"]
    assert len(loads["lru"]) == 10


@pytest.mark.parametrize(
    ("arrivals", "expected"),
    [
        (None, "poisson:rate=0.25"),
        ("gamma:rate=9,cv=2", "gamma:rate=0.25,cv=2"),
        ("gamma:cv=2", "gamma:cv=2,rate=0.25"),
        (Gamma(9, 2), Gamma(0.25, 2)),
    ],
)
def test_a_rate_is_put_into_the_arrivals(arrivals: Any, expected: Any) -> None:
    assert plan({RATE: [0.25]}, arrivals=arrivals).cells[0].config.arrivals == expected


def test_every_setting_of_a_run_can_be_varied() -> None:
    """The list comes from `RunConfig`, so that a setting added there is an axis at once."""
    assert set(kinds()) == {item.name for item in fields(RunConfig)} | {RATE}
    for item in fields(RunConfig):
        found = plan({item.name: [getattr(RunConfig, item.name)]})
        assert len(found.cells) == 1, item.name


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("policy", "ttl:pressure=head,cold_start=9,lru", ["ttl:pressure=head,cold_start=9", "lru"]),
        ("policy", "ttl:pressure=head,cold_start=9;lru", ["ttl:pressure=head,cold_start=9", "lru"]),
        ("kv_blocks", "4000, none", [4000, None]),
        ("watermark", "0,0.01", [0.0, 0.01]),
        ("seed", "0-2,9", [0, 1, 2, 9]),
        ("engine", "fast,stepwise", ["fast", "stepwise"]),
        ("step_time", "profiled:a,host_overhead_s=1,roofline", ["profiled:a,host_overhead_s=1", "roofline"]),
        (RATE, "0.05,1", [0.05, 1.0]),
    ],
)
def test_text_is_read_as_values(name: str, text: str, values: list[Any]) -> None:
    found = read_values(name, text)
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ({"kv_block": [1]}, r"unknown setting 'kv_block' of grid, did you mean 'kv_blocks'\?"),
        ({"kv_blocks": "many"}, "kv_blocks is 'many', expected a whole number or none"),
        ({"watermark": "low"}, "watermark is 'low', expected a number"),
        ({"seed": "5-1"}, "seeds are '5-1'"),
        ({"policy": []}, "policy has no value"),
        ({"policy": ["lru", "ttx"]}, r"unknown policy 'ttx', did you mean 'ttl'\?"),
        ({"gpu": ["a100-80", "h1000"]}, "h1000"),
        ({"trace": ["nowhere.jsonl"]}, "nowhere.jsonl"),
        ({"arrivals": ["closed:workers=4"], RATE: [1.0]}, "rate"),
        ({"kv_blocks": [1]}, "kv_blocks is 1, expected a whole number of at least 2"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(grid: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception, match=said) as caught:
        plan(grid)
    assert isinstance(caught.value, cs.ConfigError | cs.PolicyError | cs.TraceError)
    assert "\n" not in str(caught.value)


def test_combinations_that_cannot_go_together_do_not_stop_the_others() -> None:
    found = plan({"kv_blocks": [1, 4000], "policy": ["lru", "ttl"]})
    assert asked(found, "kv_blocks") == [(4000,), (4000,)]
    assert [item.settings["kv_blocks"] for item in found.refusals] == [1, 1]


CHANGES: dict[str, Any] = {
    "trace": "bfcl.jsonl",
    "policy": "ttl:cold_start=99",
    "arrivals": "poisson:rate=0.11",
    "seed": 1,
    "model": "qwen3-8b",
    "gpu": "h100",
    "step_time": "roofline:host_overhead_s=0.001",
    "engine": "stepwise",
    "gpu_memory_utilization": 0.8,
    "watermark": 0.01,
    "router": "round-robin",
    "link": "pcie4",
    "node_link": "roce-400",
    "speculative_config": "eagle:num_speculative_tokens=1,synthetic_acceptance_length=1.5",
}


@pytest.mark.parametrize("name", [item.name for item in fields(RunConfig)])
def test_any_other_setting_is_another_cell(name: str) -> None:
    default = getattr(RunConfig, name)
    if name in CHANGES:
        value = CHANGES[name]
    elif default is None or (isinstance(default, int) and not isinstance(default, bool)):
        value = 37
    elif isinstance(default, float):
        value = default / 2 + 0.25
    else:
        pytest.skip(f"no other value of {name} is known here")
    try:
        changed = one(**{name: value})
    except cs.ConfigError:
        pytest.skip(f"{name}={value} does not go with the defaults")
    assert changed != one()


def test_the_same_run_asked_for_in_other_words_is_the_same_cell() -> None:
    assert one(arrivals="poisson:rate=0.10", model="Llama-3.1-8B") == one(arrivals="poisson:rate=0.1")
    assert one(policy=PRESETS["lru"].build()) == one(policy="lru")
    assert one(step_time=affine()) == one(step_time=affine()) != one()


def test_a_catalogue_entry_that_changed_is_another_cell() -> None:
    from continuum_sim.hardware import find_gpu

    gpu = find_gpu("a100-80")
    assert one(gpu=gpu) == one() != one(gpu=replace(gpu, memory_bytes=gpu.memory_bytes + 1))


def test_a_trace_is_known_by_what_it_holds(tmp_path: Path) -> None:
    first, second = [program("a", turn(8, 8), at=0.0)], [program("a", turn(8, 9), at=0.0)]
    assert one(trace=first) == one(trace=list(first)) != one(trace=second)


def test_an_edited_rule_of_ones_own_is_another_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    from continuum_sim.sweeps import identity

    @dataclass(frozen=True)
    class Mine(Retention):
        def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
            return PinFor(math.inf)

    policy = Policy("mine", retention=Mine())
    before = one(policy=policy)
    assert one(policy=Policy("mine", retention=Mine())) == before
    monkeypatch.setattr(identity, "_source", lambda cls: "edited")
    assert one(policy=policy) != before


def test_a_cell_is_cheap_to_ship() -> None:
    import pickle

    programs = [program(f"p{n}", *[turn(100, 10)] * 50, at=float(n)) for n in range(200)]
    cell = plan(trace=programs).cells[0]
    assert len(pickle.dumps(cell)) < 4096


def test_a_file_says_the_same_as_flags(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(
        '[base]\nlimit = 5\n[grid]\npolicy = ["lru", "ttl:pressure=head"]\nseed = "0-1"\n'
        '[[cells]]\ngpu = "h100"\nrate = [0.1, 1]\n[[cells]]\nkv-blocks = "none"\n'
    )
    found = plan_sweep(read_spec(path))
    entries = [{"gpu": "h100", "rate": [0.1, 1.0]}, {"kv_blocks": [None]}]
    same = plan({"policy": "lru,ttl:pressure=head", "seed": [0, 1]}, entries, limit=5)
    assert [cell.id for cell in found.cells] == [cell.id for cell in same.cells]
    assert len(found.cells) == 12


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[gird]\n", "unknown table 'gird'"),
        ("grid = 3\n", r"grid is not a table, expected a \[grid\] heading"),
        ("[cells]\n", r"expected \[\[cells\]\] headings"),
        ("[grid\n", "is not TOML"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    with pytest.raises(cs.ConfigError, match=said):
        read_spec(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(cs.ConfigError, match="cannot be read"):
        read_spec(tmp_path / "none.toml")
