"""The report in headless Chromium: it loads without errors, and pointing, typing and clicking work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import continuum_sim as cs
from continuum_sim.results import RunResult
from continuum_sim.traces import Program, Turn
from support.browser import chromium

pytestmark = pytest.mark.slow

EVIL = "<img src=x onerror=document.title='owned'>"


def programs() -> list[Program]:
    """Twelve programs of four turns; one has markup for a name, and its tool too."""
    made = []
    for i in range(12):
        name = EVIL if i == 3 else f"job-{i:02}"
        turns, context = [], 0
        for k in range(4):
            tool = None if k == 3 else ("</script><b>" if i == 3 else "grep")
            prompt = context + 900
            turns.append(Turn(prompt, context, 60, tool, 0.0 if tool is None else 2.0))
            context = prompt + 60
        made.append(Program(name, tuple(turns)))
    return made


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    cs.run(programs(), policy="ttl-static:ttl=3", arrivals="poisson:rate=1", kv_blocks=2000, out=out, decisions=True)
    return out


@pytest.fixture(scope="module")
def run(directory: Path) -> RunResult:
    return cs.load_run(directory)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def page(browser: Any, directory: Path) -> Any:
    """The report, freshly loaded."""
    browser.get(cs.write_report(directory, pictures=False).as_uri())
    settle(browser)
    return browser


def settle(browser: Any) -> None:
    """Wait until everything that was to be drawn is drawn."""
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")


def timeline(browser: Any, expression: str) -> Any:
    """Evaluate an expression about the timeline `t`."""
    return browser.execute_script(f"const t = document.querySelector('[data-timeline]').timeline; return {expression};")


def at(browser: Any, name: str) -> Any:
    from selenium.webdriver.common.by import By

    return browser.find_element(By.CSS_SELECTOR, f'[data-at="{name}"]')


def point_at(browser: Any, panel: str, x: float, y: float) -> None:
    """Move the mouse to a place of a canvas, from its upper left corner."""
    from selenium.webdriver.common.action_chains import ActionChains

    canvas = at(browser, panel)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    size = canvas.size
    move = ActionChains(browser).move_to_element_with_offset
    move(canvas, round(x - size["width"] / 2), round(y - size["height"] / 2)).perform()
    settle(browser)


def test_it_loads_without_a_word_on_the_console_or_a_request(page: Any) -> None:
    assert page.get_log("browser") == []
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert "ttl-static" in page.title, "no name of the trace became markup"
    assert at(page, "count").text == "12 of 12 programs"
    assert page.execute_script("return document.querySelectorAll('main img').length") == 0


def test_every_panel_is_drawn(page: Any) -> None:
    colours = """
        const canvas = document.querySelector(`[data-at="${arguments[0]}"]`);
        const dots = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        return new Set(new Uint32Array(dots.buffer)).size"""
    for panel in ("axis", "states", "kv", "load", "programs"):
        assert page.execute_script(colours, panel) > 3, panel


def test_pointing_at_a_program_tells_what_it_does(page: Any, run: RunResult) -> None:
    turns = run.turns.set_index(["program", "turn"])
    turn = turns.loc[("job-05", 1)]
    place = timeline(page, f"t.locate(5, {(turn['first_token_s'] + turn['finish_s']) / 2})")
    point_at(page, "programs", place["x"], place["y"])
    tip = at(page, "tip").text
    assert tip.startswith("job-05\n")
    assert "turn 1: decode" in tip
    assert f"prompt {turn['prompt_tokens']:,} tokens, {turn['cached_tokens']:,} cached" in tip
    place = timeline(page, f"t.locate(5, {turn['finish_s'] + 0.5})")
    point_at(page, "programs", place["x"], place["y"])
    tip = at(page, "tip").text
    assert "turn 1: tool grep" in tip
    assert "TTL 3 s, " in tip
    point_at(page, "axis", 300, 5)
    assert not at(page, "tip").is_displayed()


def test_pointing_at_a_curve_tells_its_values(page: Any, run: RunResult) -> None:
    row = run.timeline.iloc[len(run.timeline) // 2]
    x = timeline(page, f"t.view.xOf({(row['start_s'] + row['end_s']) / 2})")
    point_at(page, "load", x, 40)
    assert "running: " in at(page, "tip").text
    point_at(page, "kv", x, 40)
    lines = at(page, "tip").text.splitlines()[1:]
    assert [line.split(":")[0] for line in lines] == ["running", "pinned", "cached", "empty"]
    blocks = sum(float(line.split()[1].replace(",", "")) for line in lines)
    assert blocks == pytest.approx(run.summary.kv.blocks - 1, abs=2)


def test_names_of_the_trace_stay_text(page: Any, run: RunResult) -> None:
    turn = run.turns.set_index(["program", "turn"]).loc[(EVIL, 0)]
    place = timeline(page, f"t.locate(t.run.programs.names.indexOf({json.dumps(EVIL)}), {turn['finish_s'] + 0.5})")
    point_at(page, "programs", place["x"], place["y"])
    tip = at(page, "tip").text
    assert EVIL in tip
    assert "tool </script><b>" in tip
    assert page.execute_script("return document.querySelectorAll('[data-timeline] img, [data-timeline] b').length") == 0


def test_filter_and_order(page: Any, run: RunResult) -> None:
    at(page, "filter").send_keys("JOB-1")
    settle(page)
    assert at(page, "count").text == "2 of 12 programs"
    assert timeline(page, "t.order.map((i) => t.run.programs.names[i])") == ["job-10", "job-11"]
    at(page, "filter").clear()
    at(page, "filter").send_keys("nothing like it")
    settle(page)
    assert at(page, "count").text == "0 of 12 programs"
    page.execute_script("const f = arguments[0]; f.value = ''; f.dispatchEvent(new Event('input'))", at(page, "filter"))
    page.execute_script(
        "const s = arguments[0]; s.value = 'jct'; s.dispatchEvent(new Event('change'))", at(page, "sort")
    )
    page.execute_script("arguments[0].value = 'arrival'", at(page, "sort"))
    page.execute_script("arguments[0].click()", at(page, "near"))
    first = run.programs["finish_s"].min() / 2
    timeline(page, f"t.show(0, {first})")
    there = (run.programs["arrival_s"] <= first).sum()
    assert at(page, "count").text == f"{there} of 12 programs"
    page.execute_script("arguments[0].click()", at(page, "near"))
    page.execute_script(
        "const s = arguments[0]; s.value = 'jct'; s.dispatchEvent(new Event('change'))", at(page, "sort")
    )
    slowest = run.programs.sort_values("jct_s", ascending=False)["program"].iloc[0]
    assert timeline(page, "t.run.programs.names[t.order[0]]") == slowest
    assert page.get_log("browser") == []


def test_zoom_pan_and_back(page: Any) -> None:
    whole = timeline(page, "t.window")
    at(page, "in").click()
    nearer = timeline(page, "t.window")
    assert nearer["to"] - nearer["from"] == pytest.approx((whole["to"] - whole["from"]) / 2)
    from selenium.webdriver.common.keys import Keys

    panels = at(page, "panels")
    panels.send_keys(Keys.ARROW_RIGHT)
    assert timeline(page, "t.window.from") > nearer["from"]
    panels.send_keys("+")
    assert timeline(page, "t.window.to - t.window.from") == pytest.approx((whole["to"] - whole["from"]) / 4)
    panels.send_keys("0")
    assert timeline(page, "t.window") == pytest.approx(whole)
    for _ in range(60):
        at(page, "in").click()
    assert timeline(page, "t.window.to - t.window.from") == pytest.approx(1e-4), "there is an end to it"
    at(page, "all").click()
    assert timeline(page, "t.window") == pytest.approx(whole)


def test_dragging_moves_and_the_wheel_zooms_about_the_pointer(page: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    at(page, "in").click()
    before = timeline(page, "t.window")
    ActionChains(page).drag_and_drop_by_offset(at(page, "kv"), -200, 0).perform()
    assert timeline(page, "t.window.from") > before["from"]
    moment = timeline(page, "t.view.timeOf(400)")
    wheel = """
        const canvas = arguments[0], left = canvas.getBoundingClientRect().left;
        canvas.dispatchEvent(new WheelEvent('wheel', {deltaY: -300, ctrlKey: true, clientX: left + 400}))"""
    page.execute_script(wheel, at(page, "kv"))
    assert timeline(page, "t.view.timeOf(400)") == pytest.approx(moment, rel=1e-3), "but for a part of a pixel"
    assert timeline(page, "t.window.to - t.window.from") < before["to"] - before["from"]


def test_a_click_or_the_arrows_list_the_turns_of_a_program(page: Any, run: RunResult) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    place = timeline(page, "t.locate(7, t.run.programs.arrival[7])")
    point_at(page, "programs", place["x"] + 20, place["y"])
    ActionChains(page).click().perform()
    settle(page)
    table = at(page, "turns").text.splitlines()
    assert table[0] == "job-07"
    assert len(table) == 2 + 4
    prompts = [int(line.split()[5].replace(",", "")) for line in table[2:]]
    assert prompts == run.turns[run.turns["program"] == "job-07"].sort_values("turn")["prompt_tokens"].tolist()
    at(page, "panels").send_keys(Keys.ARROW_DOWN)
    assert at(page, "turns").text.startswith("job-08")
    assert at(page, "said").get_attribute("textContent").startswith("job-08: 4 turns, JCT ")
    at(page, "panels").send_keys(Keys.ESCAPE)
    assert not at(page, "turns").is_displayed()


def test_two_clicks_or_enter_show_the_whole_life_of_a_program(page: Any, run: RunResult) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    life = run.programs.set_index("program").loc["job-05"]
    place = timeline(page, f"t.locate(5, {life['finish_s']})")
    point_at(page, "programs", place["x"] - 2, place["y"])
    ActionChains(page).double_click().perform()
    for _ in range(2):
        settle(page)
        shown = timeline(page, "t.window")
        assert shown["from"] <= life["arrival_s"] < life["finish_s"] <= shown["to"]
        assert shown["to"] - shown["from"] == pytest.approx(1.1 * life["jct_s"])
        assert timeline(page, "t.selected") == 5
        at(page, "all").click()
        at(page, "panels").send_keys(Keys.ENTER)


def test_a_comparison_shows_each_policy_over_the_same_time(browser: Any, tmp_path: Path) -> None:
    cs.compare(
        ["lru", "ttl"], [0, 1], limit=8, max_turns=5, arrivals="poisson:rate=2", kv_blocks=1500, out=tmp_path / "c"
    )
    browser.get(cs.write_report(tmp_path / "c", pictures=False).as_uri())
    settle(browser)
    at(browser, "in").click()
    window = timeline(browser, "t.window")
    browser.execute_script(
        "const s = arguments[0]; s.value = '1'; s.dispatchEvent(new Event('change'))", at(browser, "run")
    )
    settle(browser)
    assert timeline(browser, "[t.run.name, t.window]") == ["ttl", pytest.approx(window)]
    assert browser.get_log("browser") == []


def test_it_is_readable_in_the_dark_and_on_paper(tmp_path: Path, directory: Path) -> None:
    with chromium(tmp_path / "profile", "--force-dark-mode", "--blink-settings=preferredColorScheme=0") as driver:
        driver.get(cs.write_report(directory, pictures=False).as_uri())
        settle(driver)
        background = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert background == "rgb(20, 23, 28)"
        assert driver.get_log("browser") == []
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        assert driver.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not at(driver, "filter").is_displayed()
