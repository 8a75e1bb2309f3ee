"""A setting is declared once: flags, keyword arguments, their help and the docs tables follow from its field."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
from typer.main import get_command

import continuum_sim as cs
from continuum_sim.cli.app import app
from continuum_sim.cli.complete import SORTS
from continuum_sim.cli.trace_convert import _FORMATS
from continuum_sim.cli.trace_fit import _PROFILES
from continuum_sim.names import names_in_source
from continuum_sim.policies.registry import ROUTINGS
from continuum_sim.setup.run_config import RunConfig, run_settings
from continuum_sim.setup.settings import LOAD, Kind, kind_of, setting, settings_of
from continuum_sim.steptime.named import STEP_TIMES
from continuum_sim.traces.arrivals import ARRIVALS
from support.cli import printed

ROOT = Path(__file__).parents[3]
SETTINGS = list(run_settings())


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    """`docs/write_settings.py`."""
    spec = importlib.util.spec_from_file_location("write_settings", ROOT / "docs" / "write_settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_written_from_the_settings_is_not_stale(writer: ModuleType) -> None:
    """If not, run: python docs/write_settings.py."""
    assert writer.KEYWORDS.read_text(encoding="utf-8") == writer.keywords()
    page = writer.PAGE.read_text(encoding="utf-8")
    assert page == writer.page(page)
    assert {item.about.panel for item in run_settings().values()} - {""} == set(
        re.findall("<!-- settings: (.*) -->", page)
    )


def test_a_stale_table_is_found(writer: ModuleType) -> None:
    assert "old" not in writer.page("<!-- settings: Tools -->\n| old |\n| --- |\n\nrest")
    assert writer.page("<!-- settings: Tools -->\n| old |\n\nrest").endswith(" or per tool. |\n\nrest")


def test_every_field_is_a_setting_in_its_order() -> None:
    assert [name for name in SETTINGS if name != "rate"] == [item.name for item in fields(RunConfig)]
    assert all(item.about.help.endswith(".") for item in run_settings().values())


@pytest.mark.parametrize("command", ["run", "compare", "sweep run", "sweep tune"])
def test_every_setting_is_a_flag_of_its_words_and_default(command: str) -> None:
    found: Any = get_command(app)
    for word in command.split():
        found = found.commands[word]
    options = {item.name: item for item in found.params}
    for name, item in run_settings().items():
        several = {"policy": "policies", "seed": "seeds", "rate": "rates"}.get(name)
        if several in options or (name in ("policy", "seed", "rate") and command != "run"):
            continue
        for flag, value in item.switches.items():
            assert options[flag.removeprefix("--").replace("-", "_")].help == (
                item.help if item.is_switch else item.about.switches[value]
            )
        if item.switches:
            continue
        assert item.flag in options[name].opts
        assert options[name].help == item.help
        default = None if item.default is None else type(options[name].default)(item.default)
        assert options[name].default == default


@dataclass
class Small:
    a: int = setting(3, "How much.", LOAD, least=1)
    b: int | None = setting(None, "How many.", unset="all")
    c: Literal["x", "y"] = setting("x", "Which.")


def test_what_a_field_says_of_itself() -> None:
    found = settings_of(Small)
    assert found["a"].kind == Kind((int,), optional=False)
    assert (found["b"].help, found["b"].kind) == ("How many. Default: all.", Kind((int,), optional=True))
    assert found["c"].kind.choices == ("x", "y")
    assert Small().a == Small.a == 3
    assert kind_of("str | Elsewhere", {}) == Kind((str,), optional=False)


def test_names_in_help_texts_are_those_of_the_registries(capsys: pytest.CaptureFixture[str]) -> None:
    assert names_in_source("continuum_sim.policies", "register_routing", "rules/*.py") == sorted(ROUTINGS)
    assert names_in_source("continuum_sim.steptime", "StepTimeKind") == sorted(STEP_TIMES.load())
    assert set(ARRIVALS) <= set(re.findall("[a-z]+", run_settings()["arrivals"].help))
    shown = printed(capsys, "run", "--help")
    assert [name for name in (*ROUTINGS, *STEP_TIMES) if name not in shown] == []


def test_names_in_help_texts_of_other_commands_are_those_of_the_registries() -> None:
    assert {*_FORMATS.split(", "), "continuum"} == set(SORTS["exporter"]())
    assert _PROFILES.split(", ") == sorted(SORTS["profile"]())


@pytest.mark.parametrize("door", ["run", "compare", "sweep", "tune"])
def test_help_says_what_every_keyword_means(door: str) -> None:
    text = getattr(cs, door).__doc__
    signature = inspect.signature(getattr(cs, door))
    for name, item in run_settings().items():
        if name not in ("trace", "policy", "seed"):
            assert f"\n{name} : {item.annotation}" in text
            assert item.help in text
            assert signature.parameters[name].default == item.default


def test_reading_the_settings_is_cheap() -> None:
    code = "import sys, continuum_sim.setup.run_config; print([m for m in ('numpy', 'msgspec') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.slow
def test_an_editor_completes_settings() -> None:
    """IPython, Jupyter and several language servers use Jedi."""
    jedi = pytest.importorskip("jedi")
    for door in ("run", "compare", "sweep", "tune"):
        found = jedi.Script(f"import continuum_sim as cs\ncs.{door}(").complete()
        names = {item.name.removesuffix("=") for item in found if item.name.endswith("=")}
        assert set(SETTINGS) - {"seed", "policy", "trace"} <= names, door
        live = jedi.Interpreter(f"{door}(max_num_s", [{door: getattr(cs, door)}]).complete()
        assert [item.name for item in live] == ["max_num_seqs="]
        (signature,) = jedi.Script(f"import continuum_sim as cs\ncs.{door}(").get_signatures()
        assert {"kv_blocks", "router"} <= {item.name for item in signature.params}
