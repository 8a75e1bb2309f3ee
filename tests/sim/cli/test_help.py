"""Help texts appear in full: nothing in square brackets is taken for markup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from continuum_sim.cli.app import app
from continuum_sim.cli.help import with_plain_help
from support.cli import printed


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


ALL = dict(commands(get_command(app)))


def words(text: str) -> list[str]:
    return re.findall(r"[^\s│]+", text)


@pytest.mark.parametrize("path", sorted(ALL.keys() - {("sweep",)}), ids=" ".join)  # `sweep --help` is of `sweep run`
def test_every_word_of_a_help_text_is_shown(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    shown = words(printed(capsys, *path, "--help"))
    there = "".join(shown)
    command = ALL[path]
    texts = [command.help or "", *(item.help or "" for item in command.params if not item.hidden)]
    for text in texts:
        assert [word for word in words(text) if word not in there] == []


def test_tables_of_a_file_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    out = " ".join(words(printed(capsys, "sweep", "run", "--help")))
    assert "[base], [grid] and [[cells]]; flags override it." in out


@pytest.mark.parametrize("name", with_plain_help(app).commands)
def test_a_command_that_is_made_alone_is_the_one_among_all(name: str) -> None:
    def described(command: Any) -> Any:
        inner = [described(one) for one in getattr(command, "commands", {}).values()]
        return command.name, command.help, [(one.opts, one.help) for one in command.params], inner

    alone = with_plain_help(app, name).commands
    assert list(alone) == [name]
    assert described(alone[name]) == described(with_plain_help(app).commands[name])
