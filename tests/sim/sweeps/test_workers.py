"""The same cells give the same bytes on local processes, a Dask scheduler and a Ray cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import continuum_sim as cs
from continuum_sim.sweeps import Workers
from continuum_sim.sweeps.store import part_files
from support.steptimes import affine

GRID: dict[str, Any] = {
    "policies": "lru,ttl",
    "rates": "2",
    "seeds": "0-5",
    "limit": 6,
    "max_turns": 6,
    "kv_blocks": 1300,
    "step_time": affine(),
}

SERVICE: dict[str, Any] = {"quick": True, "limit": 4, "max_turns": 2, "kv_blocks": 500, "step_time": affine()}


def data(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in part_files(directory)]


@pytest.fixture
def whole(tmp_path: Path) -> list[bytes]:
    cs.sweep(**GRID, jobs=1, out=tmp_path / "whole")
    return data(tmp_path / "whole")


@pytest.fixture
def scheduler() -> Iterator[str]:
    """A Dask scheduler in a process of its own, with two workers."""
    pytest.importorskip("distributed", reason="needs the extra dask")
    code = (
        "from distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:\n"
        "        print(cluster.scheduler_address, flush=True); input()\n"
    )
    command = [sys.executable, "-c", code]
    support = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=support) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.write("\n")
        process.stdin.flush()
        process.wait(60)


@pytest.mark.slow
def test_a_dask_scheduler_gets_the_same_cells(tmp_path: Path, scheduler: str, whole: list[bytes]) -> None:
    result = cs.sweep(**GRID, backend="dask", address=scheduler, out=tmp_path / "s")
    assert result.failures == []
    assert data(tmp_path / "s") == whole
    curves = [
        cs.capacity(["lru"], **SERVICE, backend=at, address=to) for at, to in (("dask", scheduler), ("local", None))
    ]
    assert curves[0].to_json() == curves[1].to_json()


@pytest.fixture
def ray_address() -> Iterator[str]:
    """A Ray cluster of this machine, started as an administrator would."""
    pytest.importorskip("ray", reason="needs the extra ray")
    from ray.cluster_utils import Cluster

    support = str(Path(__file__).parents[2])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = support
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield cluster.address
    cluster.shutdown()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.mark.slow
def test_a_ray_cluster_gets_the_same_cells(tmp_path: Path, ray_address: str, whole: list[bytes]) -> None:
    result = cs.sweep(**GRID, backend="ray", address=ray_address, out=tmp_path / "s")
    assert result.failures == []
    assert data(tmp_path / "s") == whole


def test_a_scheduler_that_is_not_there_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")

    def no_answer(*_: object, **__: object) -> None:
        raise OSError("Timed out trying to connect to tcp://127.0.0.1:1 after 10 s\nmore")

    monkeypatch.setattr(distributed, "Client", no_answer)
    with pytest.raises(cs.ConfigError, match=r"^no Dask scheduler at tcp://127.0.0.1:1: Timed out [^\n]*$"):
        cs.sweep(**GRID, backend="dask", address="tcp://127.0.0.1:1", out=tmp_path / "s")


@pytest.mark.parametrize("package", ["dask", "ray"])
def test_a_package_that_is_missing_is_named(package: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("distributed", "ray"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(cs.ConfigError, match=rf"pip install 'continuum-sim\[{package}\]'"):
        cs.sweep(**GRID, backend=package, address="x:1", out=tmp_path / "s")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"jobs": 0}, "jobs is 0"),
        ({"jobs": -2}, "jobs is -2"),
        ({"backend": "slurm"}, "expected one of local, dask, ray"),
        ({"backend": "ray"}, r"takes the address of the cluster \(--address\)"),
        ({"address": "auto"}, "backend local takes no address"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(cs.ConfigError, match=said):
        Workers(**settings)


def test_each_gives_every_result_once() -> None:
    assert sorted(Workers(jobs=2).each(abs, list(range(-20, 0)))) == list(range(1, 21))
    assert list(Workers(jobs=1).each(abs, [-3, -1])) == [3, 1]
