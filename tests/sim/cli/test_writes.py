"""Where a command may write: files, links, FIFOs and devices, even next to leftovers of killed commands."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from continuum_sim.cli import main
from support.cli import cli, printed, refused

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="FIFOs and devices of Unix")


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import continuum_sim as cs

    out = tmp_path_factory.mktemp("results") / "run"
    cs.run(limit=3, out=out, decisions=True)
    return out


def commands(run: Path) -> dict[str, list[str]]:
    """Every command that writes a file named by the user, without the file's path."""
    return {
        "scale": ["trace", "scale", "bfcl", "--scale", "tokens=2", "--limit", "2", "--out"],
        "mix": ["trace", "mix", "bfcl:1", "--programs", "3", "--out"],
        "generate": ["trace", "generate", "bfcl", "--programs", "2", "--out"],
        "fit": ["trace", "fit", "bfcl", "--limit", "20", "--out"],
        "export": ["trace", "export", "bfcl", "--to", "mooncake", "--limit", "2", "--out"],
        "report": ["report", str(run), "--no-pictures", "--out"],
        "timeline": ["timeline", str(run), "--perfetto"],
    }


COMMANDS = list(commands(Path()))


def command(name: str, run: Path, out: Path) -> list[str]:
    return [*commands(run)[name], str(out)]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_fifo_and_a_link_get_what_a_file_would(
    capsys: pytest.CaptureFixture[str], run_directory: Path, tmp_path: Path, name: str
) -> None:
    suffix = ".json" if name == "timeline" else ""
    plain, link, fifo = (tmp_path / f"{kind}{suffix}" for kind in ("plain", "link", "fifo"))
    printed(capsys, *command(name, run_directory, plain))
    (tmp_path / "target").touch()
    link.symlink_to("target")
    printed(capsys, *command(name, run_directory, link))
    assert link.is_symlink()
    assert link.read_bytes() == plain.read_bytes() != b""
    os.mkfifo(fifo)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()), daemon=True)
    reader.start()
    printed(capsys, *command(name, run_directory, fifo))
    reader.join(10)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert read == [plain.read_bytes()]
    assert {path.name for path in tmp_path.iterdir()} == {plain.name, link.name, fifo.name, "target"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_and_a_full_device_are_refused(
    capsys: pytest.CaptureFixture[str], run_directory: Path, tmp_path: Path, name: str
) -> None:
    place = tmp_path / ("out.json" if name == "timeline" else "out")
    place.mkdir()
    assert (
        refused(capsys, *command(name, run_directory, place))
        == f"error: {place}: is a folder, expected a file to write\n"
    )
    assert list(tmp_path.iterdir()) == [place]
    place.rmdir()
    if Path("/dev/full").is_char_device():
        place.symlink_to("/dev/full")
        assert refused(capsys, *command(name, run_directory, place)) == f"error: {place}: No space left on device\n"
        assert place.is_symlink()
        assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize("name", ["scale", "mix", "generate", "fit", "export"])
def test_what_is_said_of_a_trace_is_not_in_it(
    capfd: pytest.CaptureFixture[str], run_directory: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(SystemExit) as exited:
        main(command(name, run_directory, Path("/dev/stdout")))
    assert exited.value.code == 0
    out, err = capfd.readouterr()
    assert err.startswith("/dev/stdout: ")
    with pytest.raises(SystemExit):
        main(command(name, run_directory, tmp_path / "plain"))
    assert out == (tmp_path / "plain").read_text()


def test_leftovers_of_killed_commands_are_in_nobodys_way(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    # Left by versions that named these files by process, in a container where every process is number 1.
    for name in (f".out.{os.getpid()}.tmp", f".out.{os.getpid()}.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    for force in ((), ("--force",)):
        code, _, err = cli(capsys, "run", "--limit", "3", "--out", out, *force)
        assert (code, err) == (0, f"wrote {out}\n")
    assert len(list(tmp_path.iterdir())) == 3
