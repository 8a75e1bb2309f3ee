"""Import files of another format as a trace."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.header import TraceHeader
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.claims import Seen, claims
from continuum_sim.traces.importers.head import read_head
from continuum_sim.traces.importers.in_order import in_order
from continuum_sim.traces.importers.registry import detect, find_importer, importers
from continuum_sim.traces.importers.sources import Source, find_sources
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.importers.tokens import Tokens
from continuum_sim.traces.plausible import Plausibility
from continuum_sim.traces.schema import Program
from continuum_sim.traces.write import write_lines

_REPORT_BYTES: Final = 2**20


@dataclass(frozen=True)
class Imported:
    """Result of an import.

    Attributes
    ----------
    path
        The trace.
    format
        The format it was imported from.
    sure
        How sure the detection was, 0 to 1; 1 if the format was given.
    programs, turns
        Counts; turns of sub-agents are included, sub-agents themselves are not.
    header
        Header written at the beginning of the trace.
    plausibility
        What the trace requires of an engine, and which of its numbers are hardly credible.
    first_skipped
        Errors of the first few bad records, if those were skipped.
    passed_over
        Number of files in folders that are of no known format.
    """

    path: Path
    format: str
    sure: float
    programs: int
    turns: int
    header: TraceHeader
    plausibility: Plausibility
    first_skipped: tuple[str, ...] = ()
    passed_over: int = 0


def import_trace(
    paths: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    format: str | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    skip_bad: bool = False,
    block_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Imported:
    """Read files of another format and write one trace, streamed, whole or not at all.

    Parameters
    ----------
    paths
        Files, or folders of files; plain, gzip or zstd.
    out
        The trace to write; names ending in ``.gz`` and ``.zst`` are compressed.
    format
        Name of the format (see `importers`); by default detected from the beginning of the files.
    tokenizer
        A ``tokenizer.json`` or its folder, for formats with text but no token counts.
    skip_bad
        Leave out and count unusable records instead of stopping at the first.
    block_size
        Tokens per block of ``hash_ids``, if the format does not say.
    progress
        Called with the bytes read and the total, about once per MiB.

    Raises
    ------
    TraceError
        At the first unusable record (file, line, field, expected), if there is no program, or if the
        format cannot be detected.
    """
    if block_size is not None and block_size < 1:
        raise TraceError(f"block_size is {block_size}, expected at least 1")
    state = ImportState(
        skip_bad=skip_bad, tokens=None if tokenizer is None else Tokens(tokenizer), block_size=block_size
    )
    importer, sources, sure, passed_over = _choose(list(paths), format)
    for source in sources:
        if Path(out).exists() and source.path.samefile(out):
            raise TraceError("is an input and would be overwritten, expected another file for the trace (-o)", path=out)
    counted = [replace(source, on_read=count) for source, count in _counters(sources, progress)]
    seen, plausibility = Seen(), Plausibility()

    def programs() -> Iterator[Program]:
        for program in importer.read(counted, state):
            seen.take(program)
            plausibility.take(program)
            yield program

    def header() -> TraceHeader:
        return TraceHeader(
            importer.name,
            *claims(importer, state, seen),
            notes=dict(state.notes),
            files=len(sources),
            skipped=state.skipped,
            tokenizer=None if state.tokens is None else state.tokens.name,
        )

    try:
        count = write_lines(out, in_order(programs()), header)
    except TraceError as error:
        if not seen.programs and error.path == os.fspath(out):
            raise _nothing_in(sources, importer, state) from None
        raise
    return Imported(
        Path(out),
        importer.name,
        sure,
        count,
        seen.turns,
        header(),
        plausibility,
        tuple(state.first_skipped),
        passed_over,
    )


def _nothing_in(sources: list[Source], importer: Importer, state: ImportState) -> TraceError:
    """Say why an importer that read its files to the end found no program in them."""
    if state.skipped:
        return TraceError(f"every record was bad, {state.skipped} in all; the first: {state.first_skipped[0]}")
    more = f" (nor in {len(sources) - 1:,} more files)" if len(sources) > 1 else ""
    found = "; ".join(f"{note}: {times:,}" for note, times in state.notes.items())
    why = found or "no record with token counts was met"
    return TraceError(f"no program in it{more}, read as {importer.name}: {why}", path=sources[0].path)


def _choose(paths: list[str | os.PathLike[str]], format: str | None) -> tuple[Importer, list[Source], float, int]:
    """Return the importer, its files, how sure that is, and how many files in folders were ignored."""
    if format is not None:
        importer = find_importer(format)
        return importer, find_sources(paths, importer.patterns), 1.0, 0
    patterns = dict.fromkeys(pattern for one in importers().values() for pattern in one.patterns)
    kept: list[Source] = []
    chosen: tuple[Importer, float] | None = None
    passed_over = 0
    last_error: TraceError | None = None
    for source in find_sources(paths, patterns):
        if not source.path.is_file():
            raise TraceError(
                "is not a regular file, so it can be read once only: give its format with --from", path=source.path
            )
        try:
            found = detect(read_head(source))
        except TraceError as error:
            if source.named:
                raise TraceError(error.detail, path=source.path) from None
            last_error = TraceError(error.detail, path=source.path)
            passed_over += 1
            continue
        if chosen is not None and found[0].name != chosen[0].name:
            raise TraceError(
                f"is {found[0].name}, but {kept[0].path} is {chosen[0].name}: import one format at a time (--from)",
                path=source.path,
            )
        chosen = found if chosen is None or found[1] < chosen[1] else chosen
        kept.append(source)
    if chosen is None:
        assert last_error is not None
        raise last_error
    return chosen[0], kept, chosen[1], passed_over


def _counters(
    sources: list[Source], progress: Callable[[int, int], None] | None
) -> Iterator[tuple[Source, Callable[[int], None] | None]]:
    if progress is None:
        yield from ((source, None) for source in sources)
        return
    report = progress
    total = sum(source.path.stat().st_size for source in sources)
    done = reported = 0

    def count(size: int) -> None:
        nonlocal done, reported
        done += size
        if done - reported >= _REPORT_BYTES or done >= total:
            reported = done
            report(min(done, total), total)

    yield from ((source, count) for source in sources)
