"""The page in headless Chromium, as a user meets it: `pytest -m browser` (Debian's chromium)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import environment
from PIL import Image

from retrieval.engine import Engine

pytestmark = pytest.mark.browser

COLOURS = {"red": (220, 20, 20), "green": (20, 190, 30), "blue": (20, 40, 220)}
HOSTILE = (
    "<img src=x onerror=alert(1)>.txt",
    "<script>alert(1)<\u2215script>.txt",
    '" onmouseover="alert(1).txt',
    "javascript:alert(1).txt",
    "{{7*7}}.txt",
    "'; DROP TABLE items; --.txt",
    "\u202egpj.exe.txt",
    "&lt;b&gt;.txt",
)
PORT = 8931


def tone(path: Path, *, pitch_hz: float) -> None:
    import wave

    times = np.arange(3 * 16_000) / 16_000
    samples = (0.5 * np.sin(2 * np.pi * pitch_hz * times) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "media"
    folder.mkdir()
    for name, rgb in COLOURS.items():
        Image.new("RGB", (64, 48), rgb).save(folder / f"{name}.png")
        (folder / f"{name}-day.txt").write_text(f"a {name} day by the sea", encoding="utf-8")
    tone(folder / "low.wav", pitch_hz=110)
    for number in range(200):
        name = HOSTILE[number % len(HOSTILE)]
        (folder / f"{number}{name}").write_text(f"red {name} {number}", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def address(media: Path) -> Iterator[str]:
    store = media.parent / "store"
    with Engine.open(store, create=True, model="fake") as engine:
        engine.add(media)
    yield from served(store, PORT)


def served(store: Path, port: int) -> Iterator[str]:
    command = [sys.executable, "-c", "from retrieval.cli import main; main()", "serve"]
    process = subprocess.Popen(
        [*command, "--store", str(store), "--port", str(port)],
        env=environment(),
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1800):
            try:
                with urllib.request.urlopen(f"{url}/ready") as answer:
                    assert answer.status == 200
                break
            except OSError:
                assert process.poll() is None, "the server has ended"
                time.sleep(0.1)
        else:
            raise AssertionError("the server did not become ready")
        yield url
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:  # Any: Playwright's own object
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A page that fails the test for any script error or breach of the content policy."""
    said: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    # A refused request is logged by the browser itself; all else is a fault.
    page.on("console", lambda m: said.append(m.text) if "status of 4" not in m.text else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.goto(address)
    page.wait_for_selector("#tabs button:nth-child(2)")
    yield page
    assert said == []
    page.close()


def names(page: Any) -> list[str]:
    return [name.inner_text() for name in page.query_selector_all(".card .name")]


def until(page: Any, condition: Callable[[], bool]) -> None:
    """Poll from outside: the page's own policy forbids to evaluate text in it."""
    for _ in range(300):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError("waited in vain")


def ask(page: Any, text: str) -> None:
    page.fill("#text", text)
    with page.expect_response("**/v1/search"):
        page.press("#text", "Enter")
    page.wait_for_selector("#grid:not([aria-busy]) .card")


def test_words_find_a_picture_and_the_address_keeps_the_query(page: Any, address: str) -> None:
    ask(page, "blue")
    assert "blue.png" in names(page)[:2]
    assert page.url == f"{address}/?q=1%3Ablue"
    page.goto(page.url)
    page.wait_for_selector(".card")
    assert "blue.png" in names(page)[:2]


def test_tabs_and_filters_narrow_and_going_back_returns(page: Any) -> None:
    ask(page, "red")
    with page.expect_response("**/v1/search"):
        page.click("#tabs button[data-kind=image]")
    until(page, lambda: page.locator(".card").count() == 3)
    assert names(page)[0] == "red.png"
    page.fill("#where", "path LIKE '%green%'")
    with page.expect_response("**/v1/search"):
        page.press("#where", "Enter")
    until(page, lambda: page.locator(".card").count() == 1)
    assert names(page) == ["green.png"]
    page.go_back()
    until(page, lambda: page.locator(".card").count() == 3)
    assert page.input_value("#where") == ""


def test_a_bad_filter_is_told_in_words(page: Any) -> None:
    ask(page, "red")
    page.fill("#where", "yeer = 1")
    page.press("#where", "Enter")
    page.wait_for_selector("#note .problem")
    assert "year" in page.inner_text("#note")


def test_a_picture_and_a_sound_that_are_chosen_find_their_like(page: Any, media: Path) -> None:
    with page.expect_response("**/v1/search"):
        page.set_input_files("#file", media / "green.png")
    page.wait_for_selector("#grid:not([aria-busy]) .card")
    assert names(page)[0] == "green.png"
    page.click(".part button")
    with page.expect_response("**/v1/search"):
        page.set_input_files("#file", media / "low.wav")
    page.wait_for_selector("#grid:not([aria-busy]) .card")
    assert "low.wav" in names(page)[:3]


def test_a_dropped_picture_is_searched_with(page: Any, media: Path) -> None:
    import base64

    data = base64.b64encode((media / "blue.png").read_bytes()).decode()
    with page.expect_response("**/v1/search"):
        page.evaluate(
            """async (data) => {
                const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
                const carried = new DataTransfer();
                carried.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
                const how = { dataTransfer: carried, bubbles: true, cancelable: true };
                document.dispatchEvent(new DragEvent("drop", how));
            }""",
            data,
        )
    page.wait_for_selector("#grid:not([aria-busy]) .card")
    assert names(page)[0] == "blue.png"
    assert page.inner_text(".part span") == "dropped.png"


def test_an_item_opens_and_more_like_it_are_found(page: Any) -> None:
    ask(page, "red")
    page.click("#tabs button[data-kind=image]")
    until(page, lambda: page.locator(".card").count() == 3)
    page.focus(".card")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector("#item[open] dd")
    assert "64 \u00d7 48 px" in page.inner_text("#item")
    with page.expect_response("**/v1/search"):
        page.click("#item .actions button")
    page.wait_for_selector(".part")
    assert not page.is_visible("#item")


def test_the_map_lets_one_choose_by_lasso(page: Any) -> None:
    page.click("#view-map")
    until(page, lambda: "near" in page.inner_text("#note"))
    page.click("#lasso")
    box = page.locator("#dots").bounding_box()
    corners = [(0.01, 0.01), (0.99, 0.01), (0.99, 0.9), (0.01, 0.9), (0.01, 0.02)]
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()
    page.wait_for_selector("#chosen h2")
    assert int(page.inner_text("#chosen h2").split()[0]) > 100
    with page.expect_response("**/v1/search"):
        page.click("#chosen button")
    page.wait_for_selector(".card")
    assert page.locator(".part").count() == 8


def test_hostile_names_run_no_script(page: Any, media: Path) -> None:
    ask(page, "red")
    for _ in range(30):
        page.mouse.wheel(0, 4000)
        page.wait_for_timeout(50)
        if page.locator(".card").count() == len(list(media.iterdir())):
            break
    shown = names(page)
    assert page.locator(".card").count() == len(list(media.iterdir()))
    assert any("<img src=x onerror=alert(1)>" in name for name in shown)
    assert page.evaluate("document.querySelectorAll('.card img[src=x], .card script').length") == 0
    page.hover(".card:nth-child(9)")  # `page` fails for dialogs, errors and breaches of the policy


def test_the_first_load_is_small_and_quick(browser: Any, address: str) -> None:
    page = browser.new_page()
    sizes: list[int] = []
    page.on("response", lambda answer: sizes.append(len(answer.body())))
    page.goto(address, wait_until="load")
    page.wait_for_selector("#tabs button:nth-child(2)")
    assert sum(sizes) < 150_000
    assert {
        r["name"].split("/")[2]
        for r in page.evaluate(
            "performance.getEntriesByType('resource').map(r => ({name: r.name}))"
        )
    } == {f"127.0.0.1:{PORT}"}
    loaded_ms = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    sys.stdout.write(f"first load: {sum(sizes)} bytes, {loaded_ms:.0f} ms\n")
    page.close()


def test_an_empty_store_says_how_to_fill_it(browser: Any, tmp_path: Path) -> None:
    Engine.open(tmp_path / "store", create=True, model="fake").close()
    for address in served(tmp_path / "store", PORT + 1):
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("#note code")
        assert "crossfind index build" in page.inner_text("#note")
        page.close()


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of 10,000 texts that one word finds."""
    folder = tmp_path_factory.mktemp("deep")
    rows = "\n".join(f"red day number {number}" for number in range(10_000))
    (folder / "rows.csv").write_text(f"text\n{rows}\n")
    with Engine.open(folder / "store", create=True, model="fake") as engine:
        engine.add(folder / "rows.csv")
    yield from served(folder / "store", PORT + 2)


def test_ten_thousand_hits_scroll_without_a_long_frame(browser: Any, deep: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(f"{deep}/?q=1%3Ared")
    page.wait_for_selector("#grid:not([aria-busy]) .card")
    first = names(page)[0]
    browser.start_tracing(page=page, categories=_TRACED)
    most_in_page = 0
    for _ in range(5000):
        page.mouse.wheel(0, 6000)
        page.wait_for_timeout(20)
        n_there = int(page.get_attribute("#grid", "data-cards"))
        most_in_page = max(most_in_page, page.locator(".card").count())
        if n_there == 10_000:
            break
    busy_ms = main_thread_ms(browser.stop_tracing())
    assert n_there == 10_000
    assert most_in_page < 1000
    page.mouse.wheel(0, 10_000_000)
    until(page, page.locator(".card").last.is_visible)
    page.mouse.wheel(0, -10_000_000)
    until(page, lambda: names(page)[0] == first)
    sys.stdout.write(f"longest task: {busy_ms[-1]:.0f} ms of {len(busy_ms)}\n")
    assert len(busy_ms) > 1000
    assert busy_ms[-1] < 100
    page.close()


_TRACED = ["toplevel", "devtools.timeline", "disabled-by-default-devtools.timeline"]


def main_thread_ms(trace: bytes) -> list[float]:
    """List how long the page's main thread computed at a stretch, ascending: no frame is longer.

    Time on a core, not on the clock: other programs of the machine do not count.
    """
    events = json.loads(trace)["traceEvents"]
    main = {
        (one["pid"], one["tid"])
        for one in events
        if one["name"] == "thread_name" and one["args"]["name"] == "CrRendererMain"
    }
    tasks = (one for one in events if one["name"] == "RunTask" and (one["pid"], one["tid"]) in main)
    return sorted(one.get("tdur", 0) / 1000 for one in tasks)
