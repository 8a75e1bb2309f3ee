"""The directory of a comparison in progress: finished runs stay, and the same comparison resumes from them.

`manifest.json` with the identities of the runs is written first; every run appears as a whole or not at all;
`comparison.json` comes last.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from continuum_sim.errors import ConfigError
from continuum_sim.names import clipped
from continuum_sim.results.compared import ComparedRun
from continuum_sim.results.files import MANIFEST, check_free, open_table, staged_directory
from continuum_sim.results.jsonfile import to_json
from continuum_sim.results.result import load_run
from continuum_sim.results.tables import COLUMNS
from continuum_sim.results.unfinished import unfinished_manifest
from continuum_sim.traces.files import write_text
from continuum_sim.traces.leftovers import release, take_folder

RUNS: Final = "runs"
IDENTITIES: Final = "identities"
"""Entry of the manifest: run -> hash of everything its result depends on, as for the cells of a sweep."""


@contextmanager
def comparison_store(
    out: Path, manifest: Mapping[str, Any], *, force: bool
) -> Iterator[tuple[Path, dict[str, ComparedRun]]]:
    """Yield the directory and the runs already finished in it, to one process at a time.

    The directory is removed if an exception arrives before any run has finished.

    Parameters
    ----------
    out
        The directory; a link is followed.
    manifest
        Description of the comparison: stamp, settings, `runs` (their paths) and their `identities`.
    force
        Whether to start over even if there are results.

    Raises
    ------
    ConfigError
        If the directory holds other results, is in use, or holds an unfinished comparison with other settings.
    """
    place = Path(os.path.realpath(out))
    check_place(out, force=force)
    made = [] if place.is_dir() else [place, *(folder for folder in place.parents if not folder.is_dir())]
    then = None if force else unfinished_manifest(place)
    with _taken(place, out):
        if then is None:
            with staged_directory(out, force=force) as staged:
                (staged / RUNS).mkdir()
                write_text(staged / MANIFEST, to_json(dict(manifest)))
        else:
            _check_same(out, then, json.loads(to_json(dict(manifest))))
    with _taken(place, out):
        finished = {}
        for name in manifest["runs"]:
            run = _finished(place / name)
            if run is not None:
                finished[name] = run
        try:
            yield place, finished
        except BaseException:
            if not any((place / name).is_dir() for name in manifest["runs"]):
                _remove(place, made)
            raise


def check_place(out: Path, *, force: bool) -> None:
    """Refuse a directory that holds results other than an unfinished comparison; see `check_free`."""
    if force or unfinished_manifest(out) is None:
        check_free(out, force=force)


@contextmanager
def _taken(place: Path, out: Path) -> Iterator[None]:
    lock = None
    if place.is_dir():
        try:
            lock = take_folder(str(place))
        except BlockingIOError:
            raise ConfigError(
                f"--out {out} is in use by another comparison; wait for it or choose another directory"
            ) from None
    try:
        yield
    finally:
        release(lock)


def _finished(place: Path) -> ComparedRun | None:
    """Read a run back; remove one that cannot be read, so that it is made again."""
    if not place.is_dir():
        return None
    try:
        run = load_run(place)
        for table in COLUMNS:
            open_table(place, table).close()
        return ComparedRun(run.summary, run.table("programs"))
    except ConfigError:
        shutil.rmtree(place)
        return None


def _remove(place: Path, made: Sequence[Path]) -> None:
    """Remove what was made: the runs first, so that the manifest stays as long as any of them does."""
    shutil.rmtree(place / RUNS, ignore_errors=True)
    if (place / RUNS).exists():
        return
    (place / MANIFEST).unlink(missing_ok=True)
    for folder in made or [place]:
        with suppress(OSError):
            folder.rmdir()


def _check_same(out: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    version, other = (_version(manifest) for manifest in (now, then))
    if version != other:
        raise ConfigError(
            f"--out {out} holds an unfinished comparison of another version ({other}, this is {version}); choose "
            "another directory, or start over with --force"
        )
    if all(then.get(key) == now[key] for key in (IDENTITIES, "runs", "baseline")):
        return
    raise ConfigError(
        f"--out {out} holds an unfinished comparison with other settings: {_difference(then, now)}; finish it with its "
        "own settings, choose another directory, or start over with --force"
    )


def _version(manifest: Mapping[str, Any]) -> str:
    """Return the version and commit of the program that wrote a manifest."""
    commit = manifest.get("commit")
    return str(manifest.get("versions", {}).get("continuum-sim")) + (f" at {commit}" if commit else "")


def _difference(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name what differs, with both values if they are known."""
    pairs = [(key, then.get(key), now.get(key)) for key in ("policies", "seeds", "baseline")]
    old, new = then.get("settings") or {}, now["settings"]
    pairs += [(name, old.get(name), new.get(name)) for name in dict.fromkeys([*new, *old])]
    found = [f"{name} {_shown(before)} there, {_shown(after)} here" for name, before, after in pairs if before != after]
    if then.get("trace_sha256") != now["trace_sha256"] and not found:
        found.append("the trace's content has changed")
    return "; ".join(found) or "what a name stands for (a policy's source, a catalogue entry, step times) has changed"


def _shown(value: Any) -> str:
    return clipped(",".join(map(str, value)) if isinstance(value, list) else str(value))
