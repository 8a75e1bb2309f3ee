"""Run every benchmark and write its output into docs/speed.md, between the markers with its name.

python benchmarks/all.py --vllm-python /opt/vllm-env/bin/python --dynamo-python /opt/dynamo/bin/python

The figures need a quiet machine: nothing else should run meanwhile. A benchmark whose counterpart is missing leaves its
figures on the page unchanged.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from harness import JSON_MARK

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Benchmark:
    """A script, its arguments for the page, and arguments with which it takes seconds."""

    script: str
    arguments: tuple[str, ...] = ()
    small: tuple[str, ...] = ()
    on_page: bool = True
    """Whether its output belongs on the page."""


BENCHMARKS = {
    "turns_per_second": Benchmark(
        "turns_per_second.py",
        ("--repeats", "8", "--stepwise-repeats", "3"),
        ("--limit", "4", "--repeats", "1", "--policies", "lru,ttl"),
    ),
    "vllm_scheduler": Benchmark(
        "vllm_scheduler.py",
        (),
        ("--limit", "3", "--rates", "0.2", "--repeats", "1"),
    ),
    "dynosim": Benchmark("dynosim.py", (), ("--limit", "4", "--requests", "50", "--repeats", "1")),
    "scale": Benchmark(
        "scale.py",
        ("--picture", "docs/img/scale.png"),
        ("--outputs", "1,4", "--prompts", "1,4", "--turns", "300,600", "--repeats", "1"),
        on_page=False,
    ),
    "groups": Benchmark("groups.py", (), ("--limit", "3", "--repeats", "1"), on_page=False),
    "hot_spots": Benchmark("hot_spots.py", ("--policy", "ttl"), ("--limit", "4", "--top", "5"), on_page=False),
}


def main(
    only: Annotated[str, typer.Option(help="Names, separated by commas.")] = ",".join(BENCHMARKS),
    vllm_python: Annotated[Path, typer.Option(help="A Python that has vLLM and continuum-sim.")] = Path(sys.executable),
    dynamo_python: Annotated[
        Path | None, typer.Option(envvar="DYNAMO_PYTHON", help="A Python that has ai-dynamo-runtime.")
    ] = None,
    page: Annotated[Path, typer.Option(help="The page to rewrite.")] = ROOT / "docs" / "speed.md",
    small: Annotated[bool, typer.Option("--small", help="See that all run, in seconds; writes no page.")] = False,
) -> None:
    """Run them one after the other."""
    for name in only.split(","):
        benchmark = BENCHMARKS[name]
        python = vllm_python if name == "vllm_scheduler" else Path(sys.executable)
        peer = ["--dynamo-python", str(dynamo_python)] if name == "dynosim" and dynamo_python else []
        arguments = benchmark.small if small else benchmark.arguments
        text, figures = _run([str(python), f"benchmarks/{benchmark.script}", *arguments, *peer], name)
        if benchmark.on_page and not small and "missing" not in figures:
            hidden = ["--dynamo-python", "…"] if peer else []
            shown = " ".join(["python", f"benchmarks/{benchmark.script}", *arguments, *hidden])
            write_block(page, name, _block(shown, text, figures))


def _run(command: list[str], name: str) -> tuple[str, dict[str, Any]]:
    """Run a script; return its output and its figures."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    print(f"\n{name}\n{done.stdout}", flush=True)
    if done.returncode:
        raise SystemExit(f"benchmark {name} failed with exit code {done.returncode}")
    text, _, line = done.stdout.rpartition(JSON_MARK)
    return text, json.loads(line)


def write_block(page: Path, name: str, block: str) -> None:
    """Replace the text between a benchmark's markers; the page is complete at any time.

    Raises
    ------
    SystemExit
        If the page lacks the markers.
    """
    markers = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
    text, found = re.subn(markers, lambda m: f"{m[1]}{block}\n{m[2]}", page.read_text("utf-8"), flags=re.DOTALL)
    if not found:
        raise SystemExit(f"{page} has no <!-- {name} --> … <!-- end of {name} -->: add them where the figures belong")
    draft = page.with_name(f".{page.name}.tmp")
    draft.write_text(text, "utf-8")
    draft.replace(page)


def _block(command: str, text: str, figures: dict[str, Any]) -> str:
    where = dict(figures["environment"])
    versions = ", ".join(f"{name} {found}" for name, found in where.items() if name != "machine")
    measured = f"{where['machine']}; {versions}; {date.today().isoformat()}"
    return f"\n```console\n$ {command}\n```\n\n{text.strip()}\n\n{measured}\n"


if __name__ == "__main__":
    typer.run(main)
