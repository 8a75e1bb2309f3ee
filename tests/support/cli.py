"""The command line as a user meets it: what a command prints, and how it ends."""

from __future__ import annotations

import pytest

from continuum_sim.cli import main


def cli(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Return exit code, standard output and standard error of a command."""
    with pytest.raises(SystemExit) as exited:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert isinstance(exited.value.code, int)
    return exited.value.code, out, err


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return the standard output of a command that succeeds."""
    code, out, err = cli(capsys, *arguments)
    assert code == 0, err
    return out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return the one line with which a command is refused."""
    code, out, err = cli(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err
