"""`docs/refresh.py` on made-up pages: numbers change, lines go and stay, and a lock sees it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from printed import lock, notebooks, visit
from printed.folder import run
from printed.lines import GONE, digest, renewed, renewed_tables
from printed.pages import Picture, commands, hang_on_short, pictures
from printed.prose import untraced

TABLE = """\
policy    mean   p95   ratio
────────────────────────────
lru      1,000   200   1.000
ttl        900   150   0.900

ttl   mean   −100   −120 … −80   0.900   faster
"""


def page(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(text, "utf-8")
    return path


def test_a_changed_number_is_written_again_and_told(tmp_path: Path) -> None:
    path = page(
        tmp_path, "A\n\n```console\n$ printf 'lru   1,234\\nttl   5\\nother\\n'\nlru   1,200\n…\nother\n```\nend\n"
    )
    found = visit.refresh(path, tmp_path / "run", {})
    assert path.read_text("utf-8").splitlines()[4:7] == ["lru   1,234", "…", "other"]
    assert (found.outputs, found.changed, found.numbers, found.wrong) == (1, 1, [(5, "1,200", "1,234")], [])
    assert visit.refresh(path, tmp_path / "again", {}).numbers == []


def test_a_lost_line_stays_and_is_told_with_its_place(tmp_path: Path) -> None:
    text = "```console\n$ echo 'a   1'\na   1\nnothing like it   2\n```\n"
    path = page(tmp_path, text)
    assert visit.refresh(path, tmp_path / "run", {}).wrong == ["page.md:4: no longer printed: nothing like it   2"]
    assert path.read_text("utf-8") == text


def test_what_is_not_run_stays(tmp_path: Path) -> None:
    text = "<!-- not run: needs a GPU -->\n```console\n$ echo 2\n1\n```\n"
    text += "<!-- not run from here: why -->\n```console\n$ echo 4\n3\n```\n"
    path = page(tmp_path, text)
    found = visit.refresh(path, tmp_path / "run", {})
    assert (found.outputs, found.wrong, path.read_text("utf-8")) == (0, [], text)


def test_text_after_bash_and_python_and_tables_are_outputs_too(tmp_path: Path) -> None:
    path = page(
        tmp_path,
        "```bash\npip install .\necho n 2\n```\n\n```text\nn 1\n```\n\n"
        "```python\nprint('m', 3)\n```\n\n```text\nm 4\n```\n"
        "<!-- tables -->\n```console\n$ printf '| a | b |\\n| --- | --- |\\n| x | 7 |\\n'\n```\n\n"
        "so\n\n| a | b |\n| --- | --- |\n| x | 6 |\n\nthen\n",
    )
    assert visit.refresh(path, tmp_path / "run", {}).numbers == [(7, "1", "2"), (15, "4", "3"), (26, "6", "7")]
    assert "so\n\n| a | b |\n| --- | --- |\n| x | 7 |\n\nthen" in path.read_text("utf-8")


def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    path = page(tmp_path, "```console\n$ exit 3\n$ echo 'error: no'; exit 2\nerror: no\n```\n")
    (wrong,) = visit.refresh(path, tmp_path / "run", {}).wrong
    assert wrong.startswith("page.md:2: exit 3: exit code 3")


# Lines ----------------------------------------------------------------------------------------------------


def test_rows_are_found_by_their_labels_where_all_numbers_change() -> None:
    now = TABLE.replace("1,000", "1,100").replace("900", "850").replace("150", "149").replace("200", "201")
    shown = ["lru      1,000   200   1.000", "…", "ttl   mean   −100   −120 … −80   0.900   faster"]
    assert renewed(shown, now).lines == [now.splitlines()[2], "…", now.splitlines()[5]]


def test_rows_with_the_same_label_are_told_apart_by_their_first_numbers() -> None:
    now = "".join(
        f"lru   {rate}   {seconds}\nttl   {rate}   {seconds - 1}\n"
        for rate, seconds in ((0.1, 71), (0.2, 82), (0.3, 93))
    )
    assert renewed(["lru   0.1   70", "ttl   0.3   91"], now).lines == ["lru   0.1   71", "ttl   0.3   92"]


def test_a_row_that_is_gone_does_not_take_its_neighbours_numbers() -> None:
    found = renewed(["lru   10   20", "fcfs   30   40"], "lru   11   21\nttl   30   40\n")
    assert (found.lines, found.lost) == (["lru   11   21", "fcfs   30   40"], [(1, "fcfs   30   40")])


def test_a_verdict_that_says_something_else_is_taken() -> None:
    now = "ttl    collapses in 2 of 3 runs\n\npolicy   mean   p95\nttl        10   11\n"
    assert renewed(["ttl    too short to tell"], now).lines == ["ttl    collapses in 2 of 3 runs"]


def test_columns_that_a_page_leaves_out_stay_out_and_new_ones_come() -> None:
    now = "policy   mean   p95   ratio\nlru        11    21    1.00\n"
    assert renewed(["policy   mean   p95", "lru        10    20"], now).lines == [
        "policy   mean   p95",
        "lru        11    21",
    ]
    more = "policy   mean   slowdown   p95\nlru        10        2.0    20\n"
    assert renewed(["policy   mean   p95", "lru        10    20"], more).lines == more.splitlines()


def test_rows_of_markdown_tables_come_go_and_change_places() -> None:
    heads = ["| --- | --- |"]
    shown = ["| a | s |", *heads, "| 5 | 1 |", "| y | 2 |", "| b | s |", *heads, "| x | 1 |", "| z | 1 |"]
    now = "\n".join(["T", "| a | s |", *heads, "| y | 1 |", "| 5 | 2 |", "| w | 3 |", "", *shown[4:7], ""])
    found = renewed_tables(shown, (3, 4, 5, 6, 9, 10, 11, 12), now)
    assert found.lines == [*shown[:2], "| y | 1 |", "| 5 | 2 |\n| w | 3 |", *shown[4:7], GONE]
    assert found.changed == [
        (3, "| y | 2 |", "| y | 1 |"),
        (2, "| 5 | 1 |", "| 5 | 2 |"),
        (3, "", "| w | 3 |"),
        (7, "| z | 1 |", ""),
    ]
    assert renewed_tables(shown[:4], (3, 4, 5, 6), "| c | s |\n").lost == [(0, "| a | s |")]


def test_wall_times_alone_change_nothing() -> None:
    shown = "simulated in         0.665 s: 5,533 turns/s, 118 k engine steps"
    slower = "simulated in         1.9 s: 533 turns/s, 118 k engine steps"
    assert renewed([shown], slower).lines == [shown]
    assert digest(shown) == digest(slower) != digest(slower.replace("118", "119"))
    assert renewed([shown], slower.replace("118", "119")).changed


# What is typed --------------------------------------------------------------------------------------------


def test_what_is_typed_is_found(tmp_path: Path) -> None:
    path = page(
        tmp_path,
        "```bash\n# not typed\npython3 -m venv .venv && .venv/bin/pip install . && .venv/bin/x a   # why\n"
        ". .venv/bin/activate\ny b \\\n  c\n```\n"
        "<!-- run with: --limit 3 --quick -->\n"
        "```console\n$ for r in 1 2; do\n>   continuum-sim compare --limit 99 --rate $r --quick --limited 4\n> done\n"
        "shown\n"
        "$ z '{\n  d}'\nerror: e\n```\n"
        "<!-- not run, q: needs a GPU -->\n\n```console\n$ q 1\n$ r 2\n```\n"
        "<!-- run -->\n```python\nprint(1)\n```\n```python\nprint(2)\n```\n"
        "<!-- not run from here: takes minutes -->\n\n```console\n$ s\n```\ntext\n```console\n$ t\n```\n",
    )
    found = list(commands(path))
    assert [c.short for c in found] == [
        ".venv/bin/x a   # why",
        "y b \\\n  c",
        "for r in 1 2; do\n  continuum-sim compare --limit 3 --quick --rate $r --limited 4\ndone",
        "z '{\n  d}'",
        "q 1",
        "r 2",
        "python -c 'print(1)\n'",
        "s",
        "t",
    ]
    assert [c.reason for c in found] == [*4 * [""], "needs a GPU", "", "", "takes minutes", "takes minutes"]
    assert (found[2].shown, found[3].shown, found[0].line, found[2].at) == ("shown\n", "error: e\n", 2, (13,))


def test_a_command_that_fails_is_seen(tmp_path: Path) -> None:
    assert run("exit 3", tmp_path).returncode == 3
    assert run("command -v continuum-sim | head -n 1", tmp_path).stdout


# The lock -------------------------------------------------------------------------------------------------

SHORT = """\
<!-- run with: --limit 3 -->
```console
$ echo continuum-sim run --limit 20 --seed 8 --out runs/a
continuum-sim run --limit 20 --seed 8 --out runs/a
$ cat runs/a || echo 1
```
"""


def test_the_lock_tells_what_is_stale(tmp_path: Path) -> None:
    path = page(tmp_path, SHORT)
    short, after = (command.short for command in hang_on_short(list(commands(path))))
    assert short == "echo continuum-sim run --limit 3 --seed 8 --out runs/a"
    found = visit.Visit("page.md")
    visit.relock(path, tmp_path / "run", found)
    assert (set(found.locked), found.wrong) == ({short, after}, [])
    assert visit.stale(path, tmp_path / "again", found.locked) == []
    stale = visit.stale(path, tmp_path / "other", {**found.locked, short: {"short": "0"}})
    assert stale == [f"page.md:3 is stale ({short}): run python docs/refresh.py page.md"]
    path.write_text(SHORT.replace("echo 1", "echo 2").replace("seed 8", "seed 9"), "utf-8")
    assert [line.partition(" is stale")[0] for line in visit.stale(path, tmp_path / "changed", found.locked)] == [
        "page.md:3",
        "page.md:3",
    ]


def test_what_runs_whole_is_held_against_the_page_itself(tmp_path: Path) -> None:
    path = page(tmp_path, "```console\n$ echo a 1\na 2\n```\n")
    assert visit.stale(path, tmp_path / "run", {}) == [
        "page.md:3 is stale, now 'a 1': run python docs/refresh.py page.md"
    ]


def test_a_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    for page, entries in (("b.md", {"x": {"short": "1"}}), ("a.md", {"y": {}}), ("b.md", {"x": {"short": "2"}})):
        lock.keep(page, entries, tmp_path / "lock.json")
    lock.keep("a.md", {}, tmp_path / "lock.json")
    assert lock.read(tmp_path / "lock.json") == {"b.md": {"x": {"short": "2"}}}
    assert lock.read(tmp_path / "none.json") == {}


# Pictures -------------------------------------------------------------------------------------------------


def test_a_picture_is_drawn_again_only_where_it_shows_something_else(tmp_path: Path) -> None:
    text = "<!-- picture: a.png of printf '%s' NEW > a.png; echo x,VALUE > a.csv; echo said 3 -->\n\n![A](img/a.png)\n"
    (tmp_path / "img").mkdir()
    picture = tmp_path / "img" / "a.png"
    picture.write_text("old")
    path = page(tmp_path, text.replace("VALUE", "1.5"))
    found = visit.refresh(path, tmp_path / "run", {})
    assert (found.redrawn, picture.read_text()) == (["a.png"], "NEW")
    picture.write_text("the same numbers, drawn by another version")
    found = visit.refresh(path, tmp_path / "again", found.locked)
    assert (found.redrawn, found.locked["a.png"]["printed"]) == ([], "said 3\n")
    assert visit.refresh(page(tmp_path, text.replace("VALUE", "2")), tmp_path / "other", found.locked).redrawn == [
        "a.png"
    ]


def test_a_picture_that_says_nothing_is_told(tmp_path: Path) -> None:
    path = page(
        tmp_path,
        "| <!-- picture: x/a.png --> ![A](img/a.png) | ![B](img/b.png) |\n\n"
        "<!-- picture, not made here: needs vLLM -->\n\n![C](img/c.png)\n\n"
        "<!-- picture of README.md -->\n\n![D](d.png)\n",
    )
    a, b = pictures(path)
    assert isinstance(a, Picture)
    assert (a.made, a.command, a.file) == ("x/a.png", None, tmp_path / "img" / "a.png")
    assert b == "page.md:1: b.png does not say what made it"


# Sentences ------------------------------------------------------------------------------------------------

SHOWN = "\n\n```console\n$ x --rate 0.06\nlru   845.6   3.29 M   97.4 %\nttl   506.6\n```\n"


@pytest.mark.parametrize(
    "said",
    [
        "845.6 and 846 s, −846 s, 0.06/s, 3.3 million tokens, 97 %",
        "a ratio of 0.60<!--506.6/845.6-->, 40 %<!--1-506.6/845.6--> less, 216<!--3600*0.06--> an hour",
        "200<!--given--> jobs: `ttl=4`, Llama-3.1-8B on an A100-80, p95, [see](page.md#5-6), x2",
    ],
)
def test_numbers_that_are_printed_pass(said: str) -> None:
    assert list(untraced(said + SHOWN, {})) == []


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("847 s", "847 stands in no output of the page"),
        ("3.4 million tokens", "3.4 million stands in no output of the page"),
        ("6 % less", "6 % stands in no output of the page"),
        ("0.61<!--506.6/845.6-->", "0.61 is 0.5991 (506.6/845.6)"),
        ("0.60<!--506.7/845.6-->", "0.60 is computed of 506.7, which the page does not show"),
        ("0.60<!--about half-->", "0.60<!--about half--> is no computation: invalid syntax (<unknown>, line 1)"),
        ("7,777<!--speed.md-->", "7,777 does not stand in speed.md"),
    ],
)
def test_numbers_that_are_not_are_told(said: str, why: str) -> None:
    assert list(untraced(f"It is\n{said} here.{SHOWN}", {})) == [(2, why)]


def test_what_draws_a_picture_prints_numbers_too() -> None:
    assert list(untraced("It is 0.045/s.", {"a.png": {"printed": "limit  0.0451"}})) == []


# Notebooks ------------------------------------------------------------------------------------------------


def notebook(*outputs: dict[str, object]) -> str:
    cell = {"cell_type": "code", "metadata": {"execution": {"began": "12:00"}}, "source": "", "outputs": list(outputs)}
    return json.dumps({"cells": [cell], "metadata": {}})


def test_equal_results_give_equal_notebooks() -> None:
    first, second = (
        notebooks.plain(
            json.loads(
                notebook({"data": {"image/svg+xml": f"<metadata>{now}</metadata><g id='{name}'/>{style} 1.2345{now}"}})
            )
        )
        for now, name, style in (("1", "p0123456789", "T_12345_row0"), ("2", "pabcdef6789", "T_abcde_row0"))
    )
    assert first == second
    assert not re.search("metadata>|execution", first)


def test_a_notebook_changes_with_its_numbers_and_not_with_the_time_it_took() -> None:
    def told(line: str) -> str:
        return notebook({"text": [line]})

    assert notebooks.differences(told("simulated in 1.0 s: 2 turns/s"), told("simulated in 2.0 s: 1 turns/s")) == []
    assert notebooks.differences(told("mean 1"), told("mean 2")) == [("mean 1", "mean 2")]
