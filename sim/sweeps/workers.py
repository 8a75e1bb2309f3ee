"""Where cells run: processes of this machine, or an existing Dask or Ray cluster, all through joblib."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, get_args

from continuum_sim.errors import ConfigError
from continuum_sim.processes import local_workers, start_workers

Backend = Literal["local", "dask", "ray"]
Task = TypeVar("Task")
Result = TypeVar("Result")

_RAY_ROUND: Final = 8
"""Tasks per Ray worker and round: joblib's Ray backend returns results only at the end of a round."""


@dataclass(frozen=True)
class Workers:
    """The processes that run the cells.

    Raises
    ------
    ConfigError
        For an unknown backend, an impossible number of processes, or a missing address.
    """

    jobs: int = -1
    """Processes; -1 is one per core, or all of a cluster."""
    backend: Backend = "local"
    address: str | None = None
    """Address of the cluster: `tcp://host:8786` (Dask), `auto`, `host:6379` or `ray://host:10001` (Ray)."""

    def __post_init__(self) -> None:
        if isinstance(self.jobs, bool) or not isinstance(self.jobs, int) or self.jobs == 0 or self.jobs < -1:
            raise ConfigError(f"jobs is {self.jobs}, expected a number of processes, or -1 for one per core")
        if self.backend not in get_args(Backend):
            raise ConfigError(f"backend is {self.backend!r}, expected one of {', '.join(get_args(Backend))}")
        if (self.backend == "local") != (self.address is None):
            needs = "no address" if self.backend == "local" else "the address of the cluster (--address)"
            raise ConfigError(f"backend {self.backend} takes {needs}")

    def each(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Generator[Result, None, None]:
        """Apply a function to every task, and yield results as they come, in any order.

        Raises
        ------
        ConfigError
            If the cluster cannot be reached, or its package is not installed.
        """
        if self.backend == "local" and (self._processes(len(tasks)) == 1):
            yield from map(function, tasks)
            return
        from joblib import Parallel, delayed

        with ExitStack() as stack:
            stack.enter_context(_BACKENDS[self.backend](self))
            if self.backend == "ray":
                with Parallel(n_jobs=self.jobs, batch_size=1) as parallel:
                    size = _RAY_ROUND * parallel._effective_n_jobs()
                    for start in range(0, len(tasks), size):
                        yield from parallel(delayed(function)(task) for task in tasks[start : start + size])
                return
            jobs = self._processes(len(tasks)) if self.backend == "local" else self.jobs
            parallel = Parallel(n_jobs=jobs, batch_size=1, pre_dispatch="4*n_jobs", return_as="generator_unordered")
            calls = (delayed(function)(task) for task in tasks)
            yield from start_workers(parallel, calls) if self.backend == "local" else parallel(calls)

    def _processes(self, tasks: int) -> int:
        return max(1, min(tasks, _cores() if self.jobs == -1 else self.jobs))


def _cores() -> int:
    from joblib import cpu_count

    return int(cpu_count())


@contextmanager
def _local(workers: Workers) -> Iterator[None]:
    with local_workers():
        yield


@contextmanager
def _dask(workers: Workers) -> Iterator[None]:
    from joblib import parallel_config

    try:
        from distributed import Client
    except ImportError:
        raise _missing("dask") from None
    try:
        client = Client(workers.address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no Dask scheduler at {workers.address}: {_first_line(error)}") from None
    with client, parallel_config(backend="dask", client=client):
        yield


@contextmanager
def _ray(workers: Workers) -> Iterator[None]:
    from joblib import parallel_config

    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError:
        raise _missing("ray") from None
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(address=workers.address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(f"no Ray cluster at {workers.address}: {_first_line(error)}") from None
    try:
        register_ray()
        with parallel_config(backend="ray"):
            yield
    finally:
        if ours:
            ray.shutdown()


_BACKENDS: Final[dict[str, Callable[[Workers], AbstractContextManager[Any]]]] = {
    "local": _local,
    "dask": _dask,
    "ray": _ray,
}


def _missing(package: str) -> ConfigError:
    return ConfigError(f"backend {package} needs the package of that name: pip install 'continuum-sim[{package}]'")


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
