"""Run the same work on NVIDIA's DynoSim, a Rust simulator, and on ours: seconds, ratios, and whether they agree.

python benchmarks/dynosim.py --dynamo-python /opt/dynamo/bin/python
python benchmarks/dynosim.py --install ~/dynosim        # makes such an environment first (from PyPI)

Both simulate one engine: vLLM's scheduler with prefix caching, LRU, chunked prefill, the same blocks and limits, and
steps of fixed length. In DynoSim a turn cannot reuse what an earlier turn generated, so the traces do not either.
Tool times, whole milliseconds in the trace, are made distinct, because the two break ties of arrivals differently.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from harness import report, swebench, table
from mooncake import write_mooncake
from workloads import scaled, single_turns, untied, without_generated

from continuum_sim.traces import Program, write_programs

HERE = Path(__file__).parent
PACKAGES = "ai-dynamo-runtime==1.6.1", "ai-dynamo==1.6.1"
BLOCK_SIZE, CHUNK, SEQS = 16, 2048, 256
STEP_S = {"prefill_s": 0.06, "decode_s": 0.01}
COLUMNS = (
    "workload",
    "turns",
    "steps",
    "DynoSim engine s",
    "ours s",
    "ours faster by",
    "DynoSim process s",
    "ours s",
    "ours faster by",
    "turns that differ",
)


@dataclass(frozen=True)
class Workload:
    """Programs that arrive at this rate, and the blocks they share; without programs, independent requests."""

    name: str
    programs: list[Program]
    rate: float
    blocks: int
    requests: tuple[int, int, int] | None = None
    """Input tokens, output tokens, count."""


def main(
    dynamo_python: Annotated[
        Path | None, typer.Option(envvar="DYNAMO_PYTHON", help="A Python that has ai-dynamo-runtime.")
    ] = None,
    install: Annotated[Path | None, typer.Option(help="Make an environment with it there and use that.")] = None,
    limit: Annotated[int | None, typer.Option(help="First programs of the trace only.")] = None,
    requests: int = 1000,
    repeats: int = 5,
) -> None:
    """Run every workload on both."""
    python = _install(install) if install else dynamo_python
    if python is None:
        print("DynoSim is missing here: pass --dynamo-python PATH, or --install FOLDER to fetch it from PyPI.")
        report("dynosim", "nothing was compared", {"missing": "ai-dynamo-runtime"})
        return
    rng = np.random.default_rng(0)
    agents = [untied(without_generated(program), rng) for program in swebench(limit)]
    long = [without_generated(scaled(program, outputs=8)) for program in agents]
    workloads = [
        Workload(f"{requests:,} requests of 512 in, 128 out, 10/s", [], 10.0, 20_000, (512, 128, requests)),
        Workload("SWE-bench agents, 0.02/s", agents, 0.02, 20_000),
        Workload("SWE-bench agents, 0.2/s", agents, 0.2, 20_000),
        Workload("the same, 8 x the output, 8 x the memory", long, 0.025, 160_000),
    ]
    rows, details = [], []
    for workload in workloads:
        with TemporaryDirectory() as folder:
            found = _compare(workload, [str(python)], Path(folder), repeats)
        theirs, ours = found["dynosim"], found["ours"]
        engine = (theirs["engine_s"], ours["engine_s"], theirs["engine_s"] / ours["engine_s"])
        process = (theirs["process_s"], ours["process_s"], theirs["process_s"] / ours["process_s"])
        rows.append((workload.name, ours["turns"], ours["steps"], *engine, *process, found["differing"]))
        details.append({"workload": workload.name, **found})
    version = details[0]["dynosim"]["version"]
    report("dynosim", table(COLUMNS, rows), {"rows": details, "ai-dynamo-runtime": version})


def _compare(workload: Workload, python: list[str], folder: Path, repeats: int) -> dict[str, Any]:
    """Time both on one workload; the processes timed as a whole simulate once."""
    their_command, our_command = [*python, str(HERE / "dynosim_side.py")], [sys.executable, str(HERE / "our_side.py")]
    theirs, ours = _jobs(workload, their_command, folder)
    found: dict[str, Any] = {}
    ends = []
    for name, command, job in (("dynosim", their_command, theirs), ("ours", our_command, ours)):
        whole_s = min(_run(command, job, 1)["process_s"] for _ in range(repeats))
        found[name] = {**_run(command, job, repeats), "process_s": whole_s}
        ends.append(_run(command, job, 1, ends=True)["ends"])
    for what in ("turns", "input_tokens", "output_tokens"):
        if found["dynosim"][what] != found["ours"][what]:
            raise SystemExit(
                f"{workload.name}: DynoSim has {found['dynosim'][what]} {what}, ours {found['ours'][what]}"
            )
    return {**found, "differing": _differing(*ends)}


def _jobs(workload: Workload, their_command: list[str], folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return each side's job, with the traces written to the folder."""
    limits = {"block_size": BLOCK_SIZE, "max_num_batched_tokens": CHUNK, "max_num_seqs": SEQS}
    timing = {"type": "fixed", **{name[:-1] + "ms": 1e3 * value for name, value in STEP_S.items()}}
    engine = {"backend": "vllm", "num_gpu_blocks": workload.blocks, "timing_model": timing, **limits}
    theirs: dict[str, Any] = {"engine": engine}
    if workload.requests:
        theirs |= {"requests": workload.requests, "rate": workload.rate}
        input_tokens, output_tokens, count = workload.requests
        arrivals_s = [arrival_s for _, arrival_s, *_ in _run(their_command, theirs, 1, ends=True)["ends"]]
        programs = single_turns(count, input_tokens, output_tokens, arrivals_s)
    else:
        gaps_s = np.random.default_rng(1).exponential(1 / workload.rate, len(workload.programs))
        times_s = (np.cumsum(gaps_s) - gaps_s[0]).tolist()  # DynoSim's clock starts at the first arrival
        programs = [replace(p, arrival_s=at_s) for p, at_s in zip(workload.programs, times_s, strict=True)]
        theirs["trace"] = str(folder / "mooncake.jsonl")
        write_mooncake(Path(theirs["trace"]), programs, BLOCK_SIZE)
    trace = folder / "trace.jsonl"
    write_programs(trace, programs)
    # Ours counts vLLM's null block, theirs does not.
    config = {"num_gpu_blocks": workload.blocks + 1, "max_model_len": 2**20, **limits}
    return theirs, {"engine": config, "step_time": STEP_S, "trace": str(trace)}


def _run(command: list[str], job: dict[str, Any], repeats: int, ends: bool = False) -> dict[str, Any]:
    start_s = time.perf_counter()
    text = json.dumps({**job, "repeats": repeats, "ends": ends})
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    process_s = time.perf_counter() - start_s
    if done.returncode:
        raise SystemExit(f"{command[-1]} failed:\n{done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "process_s": process_s}


def _differing(theirs: list[Any], ours: list[Any]) -> int:
    """Count turns whose arrival, first token or end differ by over a microsecond, or whose cached tokens differ."""
    if not theirs[0][0]:  # requests without names
        theirs, ours = (sorted(ends, key=lambda end: end[1]) for ends in (theirs, ours))
    return sum(
        cached != our_cached or max(abs(a - b) for a, b in zip(times_s, our_times_s, strict=True)) > 1e-6
        for (_, *times_s, cached), (_, *our_times_s, our_cached) in zip(theirs, ours, strict=True)
    )


def _install(folder: Path) -> Path:
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        runtime, library = PACKAGES
        subprocess.run([python, "-m", "pip", "install", "-q", runtime], check=True)
        # Its Python layer suffices, without the serving stack that it depends on.
        subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", library], check=True)
    return python


if __name__ == "__main__":
    typer.run(main)
