"""The journal of a search: the setting that Optuna suggests next, and the outcomes of earlier ones."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from continuum_sim.errors import ConfigError
from continuum_sim.sweeps.search_space import Space
from continuum_sim.sweeps.tuned import Trial
from continuum_sim.traces.files import write_bytes

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    import optuna

_JOURNAL: Final = "study.jsonl"
_NAME: Final = "tune"


class Study:
    """A search that is journaled as it goes, so that it can be resumed.

    Parameters
    ----------
    directory
        Directory of the journal.
    asked
        What identifies the search: two searches with equal `asked` are the same.
    space
        Parameter -> the values it may take.
    first
        The setting to try first; None lets Optuna choose.
    seed
        Seed of the search.

    Raises
    ------
    ConfigError
        If the directory holds another search.
    """

    def __init__(
        self, directory: Path, asked: Mapping[str, Any], space: Space, first: Mapping[str, Any] | None, seed: int
    ) -> None:
        self._space, self._first, self._seed = space, first, seed
        self._study = _open(directory / _JOURNAL)
        earlier = self._study.user_attrs.get("asked")
        if earlier is not None and earlier != asked:
            what = next(name for name in asked if earlier.get(name) != asked[name])
            raise ConfigError(f"--out {directory} holds a search with another {what}; choose another directory")
        if earlier is None:
            self._study.set_user_attr("asked", dict(asked))
        self.trials: list[Trial] = []
        """Finished trials, with a value or without."""
        self._take_over()

    def suggest(self) -> tuple[optuna.Trial, dict[str, Any]]:
        """Return the next trial and its parameters.

        The sampler is seeded by the trial's number, so that its suggestion depends only on the finished trials, not on
        whether the search was interrupted.
        """
        import optuna

        number = len(self.trials)
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        self._study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=False)
        waiting = self._study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.WAITING])
        if number == 0 and self._first is not None and not waiting:
            self._study.enqueue_trial(dict(self._first))
        trial = self._study.ask({name: item.distribution for name, item in self._space.items()})
        parameters = {name: item.value(trial.params[name]) for name, item in self._space.items()}
        trial.set_user_attr("parameters", parameters)
        return trial, parameters

    def tell(self, trial: optuna.Trial, value_s: float | None, reason: str = "") -> None:
        """Record the objective of a trial, or the reason it has none."""
        import optuna

        if value_s is None:
            trial.set_user_attr("reason", reason)
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(trial, value_s)
        self.trials.append(Trial(len(self.trials), trial.user_attrs["parameters"], value_s, reason))

    def _take_over(self) -> None:
        import optuna

        for trial in self._study.get_trials(deepcopy=False):
            if trial.state == optuna.trial.TrialState.RUNNING:  # killed: tried again with the same parameters
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            elif trial.value is not None or "reason" in trial.user_attrs:
                reason = trial.user_attrs.get("reason", "")
                self.trials.append(Trial(len(self.trials), trial.user_attrs["parameters"], trial.value, reason))


class _Lock:
    """A lock for Optuna that ends with its process; Optuna's outlives a kill, then blocks for half a minute."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")

    def acquire(self) -> bool:
        """Wait for the lock."""
        if sys.platform != "win32":
            fcntl.flock(self._file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        """Release the lock."""
        if sys.platform != "win32":
            fcntl.flock(self._file, fcntl.LOCK_UN)


def _drop_half_a_line(path: Path) -> None:
    """Remove a last line that was cut off; Optuna would append the next line to it and could read neither."""
    with suppress(FileNotFoundError):
        lines = path.read_bytes().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            write_bytes(path, b"".join(lines[:-1]))


def _open(path: Path) -> optuna.Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    _drop_half_a_line(path)
    lock: Any = (
        JournalFileOpenLock(str(path)) if sys.platform == "win32" else _Lock(path.with_name(f"{path.name}.lock"))
    )
    backend = JournalFileBackend(str(path), lock_obj=lock)
    return optuna.create_study(
        storage=JournalStorage(backend), study_name=_NAME, direction="minimize", load_if_exists=True
    )
