"""Every file is written by `traces/files.py`: nothing else opens one for writing, renames or makes temporaries."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("policies", "sim", "traces", "validate")
WRITERS = {"traces/files.py", "traces/leftovers.py"}

EXEMPT = {
    ("sim/cli/streams.py", "open"): "/dev/null in place of a closed pipe",
    ("sim/results/files.py", "ParquetWriter"): "in a staged folder, streamed",
    ("sim/results/result.py", "copyfile"): "into a staged folder",
    ("sim/sweeps/store.py", "open"): "the lock",
    ("sim/sweeps/study.py", "open"): "the lock",
    ("validate/calibration/store.py", "open"): "appends a line a point",
    ("validate/engines/engine_log.py", "open"): "the descriptor an engine prints to",
    ("validate/engines/timed_scheduler.py", "open"): "grows while the engine runs",
    ("validate/plugin/journal.py", "open"): "grows while the engine runs",
    ("validate/session/files.py", "replace"): "a folder that may stay unfinished",
}
"""File and call -> why it does without."""

BY_NAME = {
    *("copy", "copy2", "copyfile", "copytree", "move", "mkstemp", "mktemp", "NamedTemporaryFile"),
    *("write_text", "write_bytes", "renames", "to_csv", "to_parquet", "savetxt"),
}
TO_STREAM = {"ParquetWriter": 0, "write_table": 1, "savefig": 0, "savez": 0, "savez_compressed": 0}
"""Which argument says where to; fine with a stream, which the code calls `file`."""


def going_around(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Name and line of every call that writes a file by itself."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        method = isinstance(node.func, ast.Attribute)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        module = node.func.value.id if method and isinstance(node.func.value, ast.Name) else ""
        words = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        words += [keyword.value.value for keyword in node.keywords if isinstance(keyword.value, ast.Constant)]
        first = node.args[0] if node.args else None
        if name == "open":
            modes = [word for word in words if isinstance(word, str) and set(word) <= set("rwaxbt+")]
            writes = module == "os" or any(set(mode) & set("wax+") for mode in modes)
        elif name == "replace":  # of a path: a string's takes two arguments, a date's and a dataclass's have names
            writes = module == "os" or (method and len(node.args) == 1 and not node.keywords)
        elif name == "rename":  # of a path: a data frame's takes a text or names
            writes = method and first is not None and not isinstance(first, ast.Constant)
        elif name in TO_STREAM:
            target = node.args[TO_STREAM[name]] if len(node.args) > TO_STREAM[name] else None
            writes = target is not None and not (isinstance(target, ast.Name) and target.id == "file")
        else:
            writes = name in BY_NAME and method and bool(node.args) and not (name == "copy" and module != "shutil")
        if writes:
            yield name, node.lineno


def test_no_file_is_written_around_the_writer() -> None:
    used = set()
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            place = str(path.relative_to(ROOT))
            if place in WRITERS:
                continue
            for name, line in going_around(ast.parse(path.read_text(encoding="utf-8"))):
                assert (place, name) in EXEMPT, f"{place}:{line} writes by {name}; use traces/files.py"
                used.add((place, name))
    assert used == set(EXEMPT), "exempt without need"


@pytest.mark.parametrize(
    "code",
    [
        "path.write_text(x)",
        "path.open('wb')",
        "open(path, mode='a')",
        "io.open(path, 'x')",
        "os.open(path, flags)",
        "draft.replace(path)",
        "os.replace(a, b)",
        "draft.rename(path)",
        "pq.ParquetWriter(path, schema)",
        "pq.write_table(table, path)",
        "figure.savefig(path)",
        "np.savez(path, a=1)",
        "frame.to_csv(path)",
        "tempfile.NamedTemporaryFile('w')",
        "shutil.move(a, b)",
    ],
)
def test_the_test_would_find_it(code: str) -> None:
    assert list(going_around(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "path.open('rb')",
        "open(path)",
        "write_text(path, x)",
        "name.replace('a', 'b')",
        "replace(config, seed=1)",
        "moment.replace(tzinfo=UTC)",
        "frame.rename(columns={})",
        "frame.to_csv(index=False)",
        "np.savez(file, a=1)",
    ],
)
def test_the_test_does_not_cry_wolf(code: str) -> None:
    assert not list(going_around(ast.parse(code)))
