"""docs/recipes.md: its examples work as they stand, shipped by another package and as files of this one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from continuum_sim.plotting.registry import FIGURE_ENTRY_POINTS
from continuum_sim.policies.registry import POLICY_ENTRY_POINTS
from continuum_sim.steptime.named import STEP_TIME_ENTRY_POINTS
from continuum_sim.traces.exporters.registry import EXPORTER_ENTRY_POINTS
from continuum_sim.traces.importers.registry import IMPORTER_ENTRY_POINTS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "recipes.md").read_text("utf-8")
EXAMPLES = dict(re.findall(r"```python\n# my_agents/(\w+)\.py\n(.*?)```", PAGE, flags=re.DOTALL))
"""Source of each example by its kind."""
FOLDERS = dict(re.findall(r"^\| \[([a-z -]+)\]\(\S+\) \| `(\S+)/` \|", PAGE, flags=re.MULTILINE))
"""Where a file of each kind goes in this repository."""

RUN = "run --trace bfcl --limit 5 --arrivals burst --replicas 2"
COMMANDS = {
    "policies": "policies --json",
    "formats": "trace import --formats --json",
    "figures": "figures --list --json",
    "help": "--help",
    "import": "trace import jobs.csv --from job-table -o t.jsonl",
    "run": f"{RUN} --policy pin-long:worth_s=0.1 --router least-waiting --step-time steady:0.5 --out run",
    "told": "trace import jobs.csv -o told.jsonl",
    "export": "trace export t.jsonl --to job-sizes -o sizes.jsonl",
    "draw": "figures run --only queue-share --format svg",
    "count": "count-turns t.jsonl",
    "policy?": f"{RUN} --policy pin-lnog",
    "router?": f"{RUN} --policy lru --router least-wating",
    "importer?": "trace import jobs.csv --from job-tabel -o u.jsonl",
    "exporter?": "trace export t.jsonl --to job-size -o u.jsonl",
    "step-time model?": f"{RUN} --policy lru --step-time steadi:0.5",
    "figure?": "figures run --only queue-shar",
    "command?": "count-turn t.jsonl",
}
NAMES = {
    "policy": "pin-long",
    "router": "least-waiting",
    "importer": "job-table",
    "exporter": "job-sizes",
    "step-time model": "steady",
    "figure": "queue-share",
    "command": "count-turns",
}
# One process for all commands: each by itself would spend its time importing.
TYPE = """
import contextlib, io, json, sys
from continuum_sim.cli import main
printed = {}
for name, command in json.load(sys.stdin).items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(command.split())
        except SystemExit as exit:
            printed[name] = (exit.code, out.getvalue(), err.getvalue())
json.dump(printed, sys.stdout)
"""


class Printed(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Typed(NamedTuple):
    """What commands printed, and where they wrote."""

    folder: Path
    printed: dict[str, Printed]


def as_another_package(folder: Path) -> None:
    """Install the page's examples as the distribution `my_agents`, with the entry points of its pyproject.toml."""
    (package := folder / "my_agents").mkdir()
    for name, source in EXAMPLES.items():
        (package / f"{name}.py").write_text(source)
    (pyproject,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    groups = tomllib.loads(pyproject)["project"]["entry-points"]
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in named.items())
        for group, named in groups.items()
    )
    (info := folder / "my_agents-1.0.dist-info").mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-agents\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)


def as_files_of_this_one(folder: Path) -> None:
    """Make a copy of this package, and put the page's examples into the folders that its table names."""
    package = folder / "continuum_sim"
    shutil.copytree(ROOT / "sim", package, copy_function=os.symlink)
    for layer in ("policies", "traces", "validate"):
        shutil.copytree(ROOT / layer, package / layer, copy_function=os.symlink)
    for kind, place in FOLDERS.items():
        stem = kind.replace("-", "_").removesuffix(" model")
        (package / place.removeprefix("sim/") / f"our_{stem}.py").write_text(EXAMPLES[stem])
    app = package / "cli" / "app.py"
    source, line = app.read_text("utf-8"), "app.command()(policies)\n"
    assert line in source
    ours = "from continuum_sim.cli.our_command import count_turns\n\napp.command()(count_turns)\n"
    app.unlink()
    app.write_text(source.replace(line, line + ours))


@pytest.fixture(scope="module", params=[as_another_package, pytest.param(as_files_of_this_one, marks=pytest.mark.slow)])
def typed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Typed:
    """What each of COMMANDS did where the examples are installed."""
    packages, folder = tmp_path_factory.mktemp("packages"), tmp_path_factory.mktemp("work")
    request.param(packages)
    (folder / "jobs.csv").write_text("a,1000,50\nb,2000,20\n")
    done = subprocess.run(
        [sys.executable, "-c", TYPE],
        input=json.dumps(COMMANDS),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(packages), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "", "nothing to warn of"
    return Typed(folder, {name: Printed(*ended) for name, ended in json.loads(done.stdout).items()})


def test_each_example_does_its_work_under_its_name(typed: Typed) -> None:
    failed = {name: ended.err for name, ended in typed.printed.items() if not name.endswith("?") and ended.code}
    assert not failed
    summary = json.loads((typed.folder / "run" / "summary.json").read_bytes())
    assert (summary["policy"], summary["router"]) == ("pin-long:worth_s=0.1", "least-waiting")
    assert summary["pins"]["made"] > 0
    manifest = json.loads((typed.folder / "run" / "manifest.json").read_bytes())
    assert {"kind": "steady", "seconds": 0.5}.items() <= manifest["step_time"].items()
    assert (typed.folder / "run" / "figures" / "queue-share.svg").stat().st_size > 0
    assert typed.printed["import"].out.startswith("t.jsonl: 2 programs, 2 turns from 1 file\nformat    job-table\n")
    assert "format    job-table (told by how the files begin" in typed.printed["told"].out
    jobs = [json.loads(line) for line in (typed.folder / "sizes.jsonl").read_bytes().splitlines()]
    assert jobs == [{"job": "a", "turns": 1}, {"job": "b", "turns": 1}]
    assert typed.printed["count"].out == "2\n"


def test_each_is_listed_beside_ours(typed: Typed) -> None:
    listed = json.loads(typed.printed["policies"].out)
    assert {"pin-long", "lru"} <= {policy["name"] for policy in listed["policies"]}
    assert {"least-waiting", "round-robin"} <= {rule["name"] for rule in listed["planes"]["routing"]}
    assert {"job-table", "mooncake"} <= {one["name"] for one in json.loads(typed.printed["formats"].out)}
    assert {"queue-share", "jct-cdf"} <= {one["figure"] for one in json.loads(typed.printed["figures"].out)}
    assert re.search(r"\bcount-turns\b.* Count the turns of a trace", typed.printed["help"].out)
    for kind, ours in (("exporter?", "mooncake"), ("step-time model?", "roofline")):  # which no command lists
        known = typed.printed[kind].err.partition("known: ")[2].strip().split(", ")
        assert {NAMES[kind.removesuffix("?")], ours} <= set(known)


def test_a_near_miss_is_met_with_the_name(typed: Typed) -> None:
    for kind, name in NAMES.items():
        missed = typed.printed[f"{kind}?"]
        assert (missed.code, missed.out) == (2, "")
        assert re.search(f"did you mean '{name}'\\?", missed.err, flags=re.IGNORECASE), missed.err


def test_the_page_names_every_kind_and_every_group() -> None:
    assert FOLDERS.keys() == NAMES.keys()
    for place, tests in re.findall(r"\| `(\S+/)` \| .* \| `(tests/\S+)` \|$", PAGE, flags=re.MULTILINE):
        assert (ROOT / place).is_dir()
        assert (ROOT / tests).is_dir()
    groups = {
        *(POLICY_ENTRY_POINTS, IMPORTER_ENTRY_POINTS, EXPORTER_ENTRY_POINTS),
        *(STEP_TIME_ENTRY_POINTS, FIGURE_ENTRY_POINTS, "continuum_sim.commands"),
    }
    assert set(re.findall(r'^\[project\.entry-points\."(.*)"\]$', PAGE, flags=re.MULTILINE)) == groups
