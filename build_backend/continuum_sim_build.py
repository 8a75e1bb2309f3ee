"""Build continuum-sim: plain setuptools, or with the hot modules compiled by mypyc if `CONTINUUM_SIM_COMPILE=1`.

Compiling must be requested: a plain installation needs neither a C compiler nor mypy. The `.py` files go into the
wheel either way; a compiled module lies beside its source and is imported instead of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from setuptools import build_meta
from setuptools.build_meta import build_sdist, get_requires_for_build_sdist, prepare_metadata_for_build_wheel
from wheel_files import add_to_wheel, link_tree

if TYPE_CHECKING:
    from setuptools import Extension

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

VARIABLE = "CONTINUUM_SIM_COMPILE"

COMPILED = (
    # Scheduler, blocks, memory tiers and clock: most of a turn's time.
    "engine/aborts",
    "engine/batch",
    "engine/block_pool",
    "engine/cadence",
    "engine/chain",
    "engine/clock",
    "engine/contexts",
    "engine/counts",
    "engine/decoding",
    "engine/ends",
    "engine/groups/boundaries",
    "engine/groups/found",
    "engine/groups/lookup",
    "engine/groups/manager",
    "engine/groups/pool",
    "engine/groups/slides",
    "engine/groups/steps",
    "engine/groups/table",
    "engine/joint",
    "engine/jump",
    "engine/kv_cache_manager",
    "engine/lockstep",
    "engine/offload/connector",
    "engine/offload/contents",
    "engine/offload/gone",
    "engine/offload/group_chunks",
    "engine/offload/host_cache",
    "engine/offload/host_policies",
    "engine/offload/host_runs",
    "engine/offload/keyed_cache",
    "engine/offload/keyed_policies",
    "engine/offload/link",
    "engine/offload/native",
    "engine/offload/native_groups",
    "engine/offload/native_runs",
    "engine/offload/reloads",
    "engine/offload/spans",
    "engine/offload/tier",
    "engine/offload/tiers",
    "engine/offload/uploads",
    "engine/pipeline/batch",
    "engine/pipeline/oldest",
    "engine/pipeline/rounds",
    "engine/plan",
    "engine/rank",
    "engine/rebuild",
    "engine/replica",
    "engine/request",
    "engine/room",
    "engine/scheduler",
    "engine/speculation/bands",
    "engine/speculation/decoding",
    "engine/speculation/groups",
    "engine/speculation/manager",
    "engine/speculation/turn",
    "engine/token_gaps",
    "engine/visible",
    "engine/waiting",
    # The life of a program, and the engines it goes to: several calls a turn.
    "world/cluster",
    "world/course",
    "world/simulation",
    "world/timeline",
    # What policies see, updated at every event. Policies themselves are not included: their time is spent in numpy, and
    # users read, copy and derive from them.
    "policies/history",
    "policies/host/counts",
    "policies/host/governor",
    "policies/host/log",
    "policies/host/pins",
    "policies/host/queue",
    "policies/views",
)
"""Modules of the import package that are compiled.

A compiled class can be neither subclassed in Python nor copied or pickled. So what users derive from (policies,
step-time models) or send to other processes (settings, models, results) is not included, however often it is called;
nor is what is called once per run, program or file, which is not worth it.
"""

REQUIREMENTS = ["mypy[mypyc]>=2.4,<2.5", "numpy>=2.1", "simpy>=4.1"]
"""The compiler, pinned to the versions that CI tests, and the libraries whose types it must see."""

COMMIT_FILE = "continuum_sim/commit.txt"
"""File of an installed package with the commit it was built from (`continuum_sim.build.commit` reads it)."""

FOLDERS = {"sim": ".", "policies": "policies", "traces": "traces", "validate": "validate"}
"""Top-level folders and their places in the import package, as in `tool.setuptools.package-dir`."""

extensions: list[Extension] = []
"""Passed to setuptools by `setup.py`; filled while a compiled wheel is being built."""


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Request mypy if it is needed, after checking for a C compiler."""
    if not _wanted():
        return build_meta.get_requires_for_build_wheel(config_settings)
    _check_compiler()
    return [*build_meta.get_requires_for_build_wheel(config_settings), *REQUIREMENTS]


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Build a wheel, compiled if requested, that contains the commit it was made from."""
    name = (_build_compiled if _wanted() else build_meta.build_wheel)(
        wheel_directory, config_settings, metadata_directory
    )
    add_to_wheel(Path(wheel_directory, name), {COMMIT_FILE: _commit().encode()})
    return name


def _build_compiled(wheel_directory: str, config_settings: Any, metadata_directory: str | None) -> str:
    _check_compiler()
    scratch = Path("build")  # setuptools' own folder; object files go beside their sources
    scratch.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mypyc-", dir=scratch) as tree:
        extensions[:] = _translate(Path(tree).resolve())
        return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """Refuse to compile for an editable installation."""
    if _wanted():
        raise SystemExit(
            f"{VARIABLE} is set and the installation is editable: compiled modules would hide what you edit; "
            "unset it, or install without -e"
        )
    return build_meta.get_requires_for_build_editable(config_settings)


def prepare_metadata_for_build_editable(metadata_directory: str, config_settings: Any = None) -> str:
    """Prepare metadata as setuptools does."""
    return build_meta.prepare_metadata_for_build_editable(metadata_directory, config_settings)


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Build an editable wheel, never compiled. Type checkers and editors find the sources by a path file."""
    get_requires_for_build_editable()
    name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    if os.name != "nt":  # symbolic links need a privilege there
        tree = link_tree(Path.cwd(), FOLDERS, Path("build", "editable").resolve())
        add_to_wheel(Path(wheel_directory, name), {"__continuum_sim_types.pth": f"{tree}\n".encode()})
    return name


def _commit() -> str:
    """Return the commit of the sources, followed by `-dirty` if they differ; empty outside a checkout."""
    asked = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if Path(".git").exists() and done.returncode == 0 else ""


def _wanted() -> bool:
    return os.environ.get(VARIABLE, "0") not in ("", "0")


def _check_compiler() -> None:
    """Check in half a second that there are a C compiler and Python's headers."""
    from setuptools._distutils.ccompiler import new_compiler  # not public in setuptools
    from setuptools._distutils.errors import CCompilerError, DistutilsError
    from setuptools._distutils.sysconfig import customize_compiler, get_python_inc

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "try.c")
        source.write_text("#include <Python.h>\n")
        try:
            compiler = new_compiler()
            customize_compiler(compiler)
            compiler.compile([str(source)], output_dir=folder, include_dirs=[get_python_inc()])
        except (CCompilerError, DistutilsError) as error:
            raise SystemExit(
                f"{VARIABLE} asks for a compiled build, which needs a C compiler and Python's headers ({error}); "
                "install them (Debian: apt install gcc python3-dev), or unset it for the pure Python build"
            ) from None


def _translate(tree: Path) -> list[Extension]:
    """Translate the modules to C, in a copy laid out as they are imported: mypyc names modules after their paths."""
    from mypyc.build import mypycify

    package = tree / "continuum_sim"
    for folder, place in FOLDERS.items():
        shutil.copytree(folder, package / place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    with _inside(tree):
        made = mypycify(
            [
                # .ci/typecheck finds errors; here types only serve the compilation.
                *("--config-file=", "--follow-imports=silent", "--ignore-missing-imports"),
                *(f"continuum_sim/{name}.py" for name in COMPILED),
            ],
            opt_level="2",  # 3 takes three times as long to compile
            group_name="continuum_sim",
            target_dir=str(tree / "c"),
        )
    for extension in made:
        # setuptools requires paths relative to setup.py.
        extension.sources = [os.path.relpath(path) for path in extension.sources]
        extension.depends = [os.path.relpath(path) for path in extension.depends]
        if os.name != "nt":
            # A fused multiplication and addition is rounded once instead of twice, and results would not be Python's.
            extension.extra_compile_args.append("-ffp-contract=off")
    return made


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
