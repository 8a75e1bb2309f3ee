"""`continuum-sim sweep`, as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from continuum_sim.sweeps.store import part_files
from support.cli import cli, printed, refused

FEW = ("--limit", "5", "--max-turns", "6", "--kv-blocks", "1300", "--jobs", "1")


def data(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in part_files(directory)}


def test_a_sweep_shows_means_over_seeds(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "s"
    grid = ("sweep", "--policies", "lru,ttl", "--rates", "1,2", *FEW, "--out", out)
    code, shown, err = cli(capsys, *grid, "--seeds", "0-1")
    assert code == 0
    assert err == f"wrote {out}: 8 of 8 cells\n"
    assert [line.split()[:3] for line in shown.splitlines()[2:]] == [
        ["lru", "1", "2"],
        ["ttl", "1", "2"],
        ["lru", "2", "2"],
        ["ttl", "2", "2"],
    ]
    code, _, err = cli(capsys, *grid, "--seeds", "0-2")
    assert (code, err) == (0, f"wrote {out}: 12 of 12 cells, 8 of them before\n")


def test_flags_override_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text('[base]\nlimit = 3\nmax_turns = 4\n[grid]\npolicy = "lru"\nseed = "0-9"\nkv_blocks = [1300]\n')
    arguments = (
        "--seeds",
        "5",
        "--limit",
        "4",
        "--vary",
        "kv-blocks=1300,1400",
        "--jobs",
        "1",
        "--out",
        tmp_path / "s",
    )
    code, shown, _ = cli(capsys, "sweep", path, *arguments, "--json")
    assert code == 0
    assert json.loads(shown)["cells"] == 2
    frame = pd.read_parquet(tmp_path / "s" / "cells")
    assert (frame["seed"].tolist(), frame["programs"].tolist()) == ([5, 5], [4, 4])
    assert frame["kv_blocks"].tolist() == [1300, 1400]
    assert (frame["turns"] <= 16).all()


def test_a_scenario_is_swept_over_its_own_axes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[scenario]\ntitle = "Mine"\n[base]\nlimit = 3\nmax_turns = 4\nkv_blocks = 1300\n'
        '[grid]\npolicy = ["lru", "ttl"]\nrate = [1, 2]\n'
    )
    for n, way in enumerate((("--scenario", path), (path,))):
        out = tmp_path / f"s{n}"
        assert cli(capsys, "sweep", *way, "--rates", "2", "--limit", "4", "--jobs", "1", "--out", out)[0] == 0
        frame = pd.read_parquet(out / "cells")
        assert frame["policy"].tolist() == ["lru", "ttl"]
        assert set(frame["kv_blocks"]) == {1300}
        assert set(frame["programs"]) == {4}
        assert set(frame["rate_per_s"]) == {2.0}


def test_a_sweep_in_which_nothing_varies_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    err = refused(capsys, "sweep", *FEW, "--out", tmp_path / "s")
    assert "nothing to vary: give --policies, --rates, --seeds or --vary" in err
    assert not (tmp_path / "s").exists()
    assert cli(capsys, "sweep", *FEW, "--vary", "seed=1", "--out", tmp_path / "s")[0] == 0


def test_a_cluster_is_busy_at_most_all_of_the_time(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "s"
    command = ("sweep", "--policies", "lru", "--vary", "replicas=1;4", "--arrivals", "burst", *FEW, "--out", out)
    code, shown, _ = cli(capsys, *command)
    frame = pd.read_parquet(out / "cells").set_index("replicas")
    share = frame["busy_s"] / frame["sim_s"]
    assert code == 0
    assert share["4"] > 1  # four engines, each of them busy for most of it
    assert frame["busy_share"].to_dict() == {"1": share["1"], "4": pytest.approx(share["4"] / 4)}
    assert f"{100 * share['4'] / 4:.0f} %" in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("load", "alike"),
    [(("--rate", "0.01", *FEW), True), (("--rate", "0.1", "--limit", "15", "--kv-blocks", "8000"), False)],
)
def test_a_search_in_vain_says_so(load: tuple[str, ...], alike: bool, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna")
    arguments = ("--trials", "3", "--seeds", "0", "--holdout", "1", "--jobs", "1", *load)
    out = printed(capsys, "sweep", "tune", "ttl-static", "--param", "ttl=0.1:60:log", *arguments)
    assert ("every setting tried gives the same JCT" in out) == alike


def test_failed_cells_end_in_exit_code_2_with_a_list(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "s"
    few = ("--limit", "5", "--max-turns", "6", "--jobs", "1")
    code, shown, err = cli(capsys, "sweep", "--policies", "lru", "--vary", "kv_blocks=1,60,1300", *few, "--out", out)
    assert code == 2
    assert len(shown.splitlines()) == 3  # the one that worked
    lines = err.splitlines()
    assert lines[0] == f"wrote {out}: 1 of 2 cells, 1 failed"
    assert lines[1].startswith("failed: ")
    assert "kv_blocks=1" in lines[1]
    assert "59 usable" in lines[2]
    assert lines[-1] == "error: 2 cells failed; the same command tries them again"


def test_a_reason_that_many_cells_share_is_said_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    few = ("--limit", "5", "--max-turns", "6", "--jobs", "1", "--seeds", "0-2", "--rates", "2", "--json")
    out = tmp_path / "s"
    code, _, err = cli(capsys, "sweep", "--policies", "lru,ttl", "--vary", "kv_blocks=60", *few, "--out", out)
    assert code == 2
    (reason,) = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert reason.startswith("failed: 6 cells, ")
    assert "kv_blocks=60" in reason
    assert "seed=" not in reason, "only what they share"
    assert "59 usable" in reason


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--policies", "lru"], "error: a sweep needs a place for its dataset: give --out DIR"),
        (["--out", "s", "--vary", "kv_blocks"], "error: --vary 'kv_blocks' is not of the form setting=value,value"),
        (
            ["--out", "s", "--vary", "kv_block=3"],
            "error: unknown setting 'kv_block' of --vary, did you mean 'kv_blocks'?",
        ),
        (["--out", "s", "--jobs", "0"], "error: jobs is 0"),
        (["--out", "s", "--backend", "slurm"], "error: --backend is 'slurm', expected local, dask or ray"),
        (["--out", "s", "--backend", "dask"], "error: backend dask takes the address of the cluster (--address)"),
        (["--out", "s", "--address", "tcp://x:1"], "error: backend local takes no address"),
        (["none.toml", "--out", "s"], "error: sweep none.toml: cannot be read (No such file or directory)"),
        (["--out", "s", "--rates", "fast"], "error: rate is 'fast', expected a number"),
    ],
)
def test_a_mistake_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(capsys, "sweep", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(said)
    assert os.listdir(tmp_path) == []


def test_help_is_about_sweeping(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = cli(capsys, "sweep", "--help")
    assert code == 0
    for flag in ("--policies", "--rates", "--seeds", "--vary", "--backend", "--kv-blocks"):
        assert flag in out


GRID = ["--policies", "lru,program-fifo,ttl", "--rates", "0.1,0.2", "--seeds", "0-4", "--limit", "30", "--jobs", "2"]


def started(out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "continuum_sim", "sweep", *GRID, "--out", str(out)]
    said = out.with_suffix(".txt").open("w")  # no pipe: workers of a killed process keep it open for a while
    with said:
        return subprocess.Popen(command, stdout=said, stderr=said, text=True, start_new_session=True)


def wait_for_a_part(out: Path, process: subprocess.Popen[str]) -> None:
    deadline_s = time.monotonic() + 300
    while not part_files(out):
        assert process.poll() is None, "ended before it wrote a part"
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.repeats(share=3))])
def test_a_sweep_that_was_killed_goes_on_to_the_same_bytes(tmp_path: Path, how: signal.Signals) -> None:
    out = tmp_path / "s"
    with started(out) as process:
        wait_for_a_part(out, process)
        if how == signal.SIGKILL:
            process.kill()
        else:
            os.killpg(process.pid, how)  # as a terminal does: the workers get it too
        process.wait(60)
    if how == signal.SIGINT:
        assert process.returncode == 130
        said = out.with_suffix(".txt").read_text()
        assert said.count("\n") == 1
        assert "interrupted after" in said
    saved = pd.read_parquet(out / "cells")
    assert 0 < len(saved) < 30
    with started(out) as again:
        again.wait(300)
    assert again.returncode == 0
    assert f"30 of 30 cells, {len(saved)} of them before" in out.with_suffix(".txt").read_text()
    with started(tmp_path / "whole") as whole:
        whole.wait(300)
    assert data(out) == data(tmp_path / "whole")


def test_tune_shows_what_to_believe_first(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="needs the extra tune")
    search = ("--param", "ttl=0.5:20:log", "--trials", "2", "--seeds", "0-1", "--holdout", "2-3", "--rate", "2")
    command = ("sweep", "tune", "ttl-static:pressure=head", *search, *FEW, "--out", tmp_path / "t")
    code, shown, err = cli(capsys, *command)
    assert (code, err) == (0, f"wrote {tmp_path / 't'}\n")
    assert "On held-out seeds 2-3: what to believe" in shown
    assert shown.index("held-out") < shown.index("too good by construction")
    assert "2 settings tried, on seeds 0-1" in shown
    code, again, _ = cli(capsys, *command)
    assert (code, again) == (0, shown)
    code, raw, _ = cli(capsys, *command, "--json")
    assert json.loads(raw)["held_out_seeds"] == [2, 3]
    code, _, err = cli(capsys, *command, "--param", "tll")
    assert (code, err.count("\n")) == (2, 1)
    assert "did you mean 'ttl'" in err
