"""Names that users type, and the registry that all kinds of named things share."""

from __future__ import annotations

import ast
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from continuum_sim import names
from continuum_sim.errors import ConfigError
from continuum_sim.hardware.gpus import find_gpu
from continuum_sim.hardware.models import find_model
from continuum_sim.names import Registry, check_names, nearest, unknown
from continuum_sim.plotting.registry import find_figures
from continuum_sim.policies import PolicyError
from continuum_sim.scenarios import find_scenario
from continuum_sim.setup.notation import parse_arrivals, parse_policy, parse_routing
from continuum_sim.steptime import StepTime, StepTimeKind, make_step_time
from continuum_sim.sweeps.settings import check_setting
from continuum_sim.traces import TraceError
from continuum_sim.traces.importers import find_importer
from continuum_sim.traces.load import find_trace


def a_step_time(spec: str) -> StepTime:
    return make_step_time(spec, model=find_model("llama-3.1-8b"), gpu=find_gpu("h100"))


def test_it_imports_the_standard_library_alone() -> None:
    tree = ast.parse(Path(names.__file__).read_text("utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {str(module).partition(".")[0] for module in modules} <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("typed", "known", "meant"),
    [
        ("lur", ["lru", "ttl"], "lru"),
        ("TTL", ["lru", "ttl"], "ttl"),
        ("program_fifo", ["program-fifo", "pinned-first"], "program-fifo"),
        ("h10", ["H100", "H200"], "H100"),
        ("mi300x", ["H100", "H200"], None),
        ("nope", ["bfcl", "openhands-long"], None),
        ("zzz", ["roofline", "fitted"], None),
        ("x", [], None),
    ],
)
def test_only_a_close_name_is_offered(typed: str, known: list[str], meant: str | None) -> None:
    assert nearest(typed, known) == meant


@pytest.mark.parametrize(
    ("find", "wrong", "meant"),
    [
        (parse_policy, "tll", "ttl"),
        (lambda name: parse_policy(f"order={name}"), "program-fif", "program-fifo"),
        (parse_routing, "prefix-awar", "prefix-aware"),
        (parse_arrivals, "poison", "poisson"),
        (a_step_time, "rofline", "roofline"),
        (find_gpu, "h10", "H100"),
        (find_model, "lama-3.1-8b", "Llama-3.1-8B"),
        (find_scenario, "continuum-fig16-sw", "continuum-fig16-swe"),
        (find_importer, "moncake", "mooncake"),
        (find_trace, "swebnch.jsonl", "swebench.jsonl"),
        (lambda name: find_figures([name]), "jct-cfd", "jct-cdf"),
        (lambda name: check_setting(name, "a sweep"), "kv_block", "kv_blocks"),
    ],
)
def test_every_kind_of_name_has_one_cut_off(find: object, wrong: str, meant: str) -> None:
    with pytest.raises((ConfigError, PolicyError, TraceError), match=f"""did you mean ['"]{meant}['"]\\?"""):
        find(wrong)  # type: ignore[operator]
    with pytest.raises((ConfigError, PolicyError, TraceError)) as caught:
        find("qqqqqqqqq")  # type: ignore[operator]
    assert "did you mean" not in str(caught.value)


def test_the_message_says_what_there_is() -> None:
    assert unknown("policy", "tll", ["lru", "ttl"]) == "unknown policy 'tll', did you mean 'ttl'? known: lru, ttl"
    assert unknown("policy", "zz", ["lru"], remedy="see policies") == "unknown policy 'zz'; see policies"
    assert unknown("parameter", "x", [], of="policy lru") == "unknown parameter 'x' of policy lru; known: none"
    assert len(unknown("policy", "x" * 10**6, ["lru"])) < 120
    with pytest.raises(KeyError, match="'b'"):
        check_names(["a", "b"], ["a"], "thing", error=KeyError)


def kinds(**options: object) -> Registry[StepTimeKind]:
    return Registry("model", error=ConfigError, kind=StepTimeKind, **options)  # type: ignore[arg-type]


def test_a_file_in_the_folder_is_all_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a_folder_of_models"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "helpers.py").write_text("NUMBER = 3\n")
    (folder / "mine.py").write_text(
        "from continuum_sim.steptime import StepTimeKind\nMINE = StepTimeKind('mine', print)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = kinds(folder="a_folder_of_models")
    assert not found
    assert list(found.load()) == ["mine"]
    assert found.find("mine").make is print


def test_what_others_ship_is_found_and_their_mistakes_stay_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models_of_theirs.py").write_text(
        "from continuum_sim.steptime import StepTimeKind\n"
        "GOOD = StepTimeKind('good', print)\nTAKEN = StepTimeKind('good', repr)\nNUMBER = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [EntryPoint(name.lower(), f"models_of_theirs:{name}", "g") for name in ("GOOD", "TAKEN", "NUMBER", "GONE")]
    points.append(EntryPoint("broken", "no_such_module:X", "g"))
    monkeypatch.setattr(names, "entry_points", lambda *, group: points)
    found = kinds(group="g")
    assert list(found.load()) == ["good"]
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 4
    assert "'taken' cannot be loaded (models_of_theirs:TAKEN): model 'good' is registered twice" in warnings[0]
    assert "is int, expected StepTimeKind" in warnings[1]
    found.load()
    assert capsys.readouterr().err == "", "said once"


def test_a_name_belongs_to_one_thing() -> None:
    found = kinds()
    one = StepTimeKind("one", print)
    found.add("one", one)
    found.add("one", one)
    with pytest.raises(ConfigError, match="model 'one' is registered twice"):
        found.add("one", StepTimeKind("one", repr))


def test_a_notebooks_cell_may_run_again() -> None:
    rules: Registry[type] = Registry("rule", error=ConfigError)
    for _ in range(2):
        rules.add("mine", type("Mine", (), {"__module__": "__main__"}))
    with pytest.raises(ConfigError):
        rules.add("mine", type("Other", (), {"__module__": "__main__"}))
