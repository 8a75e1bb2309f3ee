"""The compiled build: which modules it has, and when it is refused. `.ci/run` builds it and compares its results."""

from __future__ import annotations

import ast
import importlib.util
import pickle
import re
import shutil
import subprocess
import sys
import venv
from importlib import import_module
from itertools import product
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import pytest

import continuum_sim
from continuum_sim import build
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
    sys.path.insert(0, str(ROOT / "build_backend"))  # as `backend-path` has it
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "build_backend"))
    return module


def test_every_listed_module_is_compiled_or_none_is(backend: ModuleType) -> None:
    names = ["continuum_sim." + path.replace("/", ".") for path in backend.COMPILED]
    suffixes = {Path(import_module(name).__file__ or "").suffix for name in names}
    assert suffixes == ({".py"} if build_name() == "pure Python" else {".pyd" if sys.platform == "win32" else ".so"})
    built = {path for path in Path(continuum_sim.__path__[0]).rglob("*") if path.suffix in {".so", ".pyd"}}
    assert len(built) == (0 if build_name() == "pure Python" else len(names))


def test_nothing_that_stays_python_derives_from_a_compiled_class(backend: ModuleType) -> None:
    """Python refuses it only when such an object is made, on a compiled installation."""
    compiled = {f"continuum_sim.{path.replace('/', '.')}" for path in backend.COMPILED}
    found = []
    for top, package in backend.FOLDERS.items():
        for path in sorted((ROOT / top).rglob("*.py")):
            inside = path.relative_to(ROOT / top).with_suffix("").as_posix()
            if (inside if package == "." else f"{package}/{inside}") in backend.COMPILED:
                continue
            tree = ast.parse(path.read_text("utf-8"))
            closed = {
                name.asname or name.name
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom) and node.module in compiled
                for name in node.names
            }
            bases = [base.id for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in _names(node)]
            found += [f"{path}: {base}" for base in bases if base in closed and base not in PROTOCOLS]
    assert found == []


PROTOCOLS = {"Protocol", "EngineView", "TierView", "StepObserver"}


def _names(node: ast.ClassDef) -> list[ast.Name]:
    return [base for base in node.bases if isinstance(base, ast.Name)]


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


def test_files_added_to_a_wheel_are_in_its_record(backend: ModuleType, tmp_path: Path) -> None:
    wheel = tmp_path / "x-1-py3-none-any.whl"
    with ZipFile(wheel, "w") as made:
        made.writestr("x.py", "x = 1\n")
        made.writestr("x-1.dist-info/RECORD", "x.py,sha256=abc,6\nx-1.dist-info/RECORD,,\n")
    backend.add_to_wheel(wheel, {"x/commit.txt": b"abc"})
    with ZipFile(wheel) as made:
        assert made.read("x/commit.txt") == b"abc"
        assert made.read("x.py") == b"x = 1\n"
        record = made.read("x-1.dist-info/RECORD").decode().splitlines()
    digest = "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"  # of "abc", as in FIPS 180-2
    assert record == [
        "x.py,sha256=abc,6",
        f"x/commit.txt,sha256={digest},3",
        "x-1.dist-info/RECORD,,",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_links_lie_as_the_package_is_imported(backend: ModuleType, tmp_path: Path) -> None:
    for _ in range(2):  # a second installation replaces the links of the first
        tree = backend.link_tree(ROOT, backend.FOLDERS, tmp_path / "tree")
        package = tree / "continuum_sim"
        assert (package / "py.typed").resolve() == ROOT / "sim" / "py.typed"
        assert (package / "policies" / "rules" / "ttl.py").resolve() == ROOT / "policies" / "rules" / "ttl.py"
        assert not (package / "__pycache__").exists()
        (package / "__pycache__").mkdir()  # as Python leaves it there
        (package / "__pycache__" / "api.pyc").touch()
    assert (ROOT / "policies" / "rules" / "ttl.py").is_file()


def test_the_commit_is_that_of_the_checkout() -> None:
    if build.commit() is None:
        pytest.skip("neither a checkout nor built from one")
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", str(build.commit()))


DOORS = {
    "run": 'cs.run("bfcl", "lru", {})',
    "compare": 'cs.compare(["lru"], [0], {})',
    "sweep": 'cs.sweep(["lru"], {})',
    "tune": 'cs.tune("ttl", {})',
}
KEYWORDS = {
    "block_size=16, rate=0.1, gpu='h100', replicas='h100:2', tool_workers={'bash': 2}, engine='stepwise'": "",
    "max_num_seq=4": 'did you mean "max_num_seqs"',
    "gpu=3": 'incompatible type "int"',
    "engine='slow'": "incompatible type",
}
"""Settings of a run -> what a type checker says of them."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_type_checkers_see_an_editable_installation(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    root = tmp_path / "source"  # a build writes into its sources
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(".git", "build", ".venv*", "*.egg-info"))
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "-e", root], check=True)
    lines = ["import continuum_sim as cs", "reveal_type(cs.run().summary.turns)"]
    expected = {}
    for call, (keywords, complaint) in product(DOORS.values(), KEYWORDS.items()):
        lines.append(call.format(keywords))
        if complaint:
            expected[len(lines)] = complaint
    (tmp_path / "mine.py").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "mypy", "--python-executable", python, "--ignore-missing-imports", "mine.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    found = {int(line): said for line, said in re.findall(r"mine\.py:(\d+): error: (.*)", done.stdout)}
    assert found.keys() == expected.keys(), done.stdout
    assert [line for line, complaint in expected.items() if complaint not in found[line]] == [], done.stdout
    assert 'Revealed type is "int"' in done.stdout
