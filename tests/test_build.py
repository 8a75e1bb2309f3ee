"""The compiled build: which modules it has, and when it is refused. `.ci/run` builds it and compares its results."""

from __future__ import annotations

import importlib.util
import pickle
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import continuum_sim
from continuum_sim.build import build_name
from continuum_sim.engine.config import EngineConfig
from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.policies import find_preset
from continuum_sim.steptime import Fitted, Roofline, StepBatch

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def backend() -> ModuleType:
    pytest.importorskip("setuptools", minversion="77")  # what the build asks for; virtual environments bring older ones
    spec = importlib.util.spec_from_file_location("backend", ROOT / "build_backend" / "continuum_sim_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_listed_module_is_compiled_or_none_is(backend: ModuleType) -> None:
    names = ["continuum_sim." + path.replace("/", ".") for path in backend.COMPILED]
    suffixes = {Path(import_module(name).__file__ or "").suffix for name in names}
    assert suffixes == ({".py"} if build_name() == "pure Python" else {".pyd" if sys.platform == "win32" else ".so"})
    built = {path for path in Path(continuum_sim.__path__[0]).rglob("*") if path.suffix in {".so", ".pyd"}}
    assert len(built) == (0 if build_name() == "pure Python" else len(names))


def test_settings_and_models_can_be_sent_to_other_processes() -> None:
    for settings in (EngineConfig(100), find_preset("ttl").build(cold_start=3)):
        assert pickle.loads(pickle.dumps(settings)) == settings
    batch = StepBatch(1, 5, 0, 15, 0, 0)
    for model in (Roofline(find_model("llama-3.1-8b"), find_gpu("a100-80")), Fitted(0.25, 0.5, 0.0, 0.0)):
        seconds = model.run_s(batch, 3)
        assert pickle.loads(pickle.dumps(model)).run_s(batch, 3) == seconds


def test_an_editable_installation_is_never_compiled(backend: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backend.VARIABLE, "1")
    for hook in (backend.get_requires_for_build_editable, lambda: backend.build_editable("nowhere")):
        with pytest.raises(SystemExit, match=r"CONTINUUM_SIM_COMPILE is set .* editable: .* install without -e"):
            hook()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows compilers are not chosen by CC")
def test_compiling_asks_for_a_compiler_before_anything_else(
    backend: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(backend.VARIABLE, "1")
    monkeypatch.setenv("CC", "no-such-compiler")
    for hook in (backend.get_requires_for_build_wheel, lambda: backend.build_wheel("nowhere")):
        with pytest.raises(SystemExit, match=r"needs a C compiler and Python's headers \(.*no-such-compiler.*\)"):
            hook()
