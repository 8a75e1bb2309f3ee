from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from continuum_sim.traces import Program, import_trace, read_programs
from support.logs import NEED_TOKENIZER, SAMPLES, word_tokenizer


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., list[Program]]:
    """Import bytes as the named format, and return the programs of the trace."""

    def run(name: str, content: bytes | None = None, **options: object) -> list[Program]:
        file, sample = SAMPLES[name]
        source = tmp_path / file
        source.write_bytes(sample if content is None else content)
        if name in NEED_TOKENIZER and "tokenizer" not in options:
            pytest.importorskip("tokenizers", reason="counting tokens needs the library tokenizers")
            options["tokenizer"] = word_tokenizer(tmp_path)
        out = tmp_path / "out.jsonl"
        import_trace([source], out, format=name, **options)  # type: ignore[arg-type]
        return list(read_programs(out))

    return run


_CASES = Path(__file__).parents[4] / "shared" / "cases" / "traces"


@pytest.fixture
def case() -> Callable[[str], Path]:
    """Return the place of a case that is kept outside the repository; without such cases the test is skipped."""

    def find(name: str) -> Path:
        path = _CASES / name
        if not path.exists():
            pytest.skip(f"needs the cases in {_CASES}")
        return path

    return find
