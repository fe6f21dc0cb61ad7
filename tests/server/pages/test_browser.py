"""The pages in a real browser, with runs that the real wandb client logs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fer_sweep.diagnosis import cases
from fer_sweep.server.embedded import LocalServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.server.pages.conftest import Site

pytestmark = [pytest.mark.browser, pytest.mark.slow]
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("THE PAGES WERE NOT TESTED IN A BROWSER: no chromium. apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that may not complain, nor talk to anybody but the server it came from."""
    page = browser.new_page()
    page.set_default_timeout(20_000)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: complaints.append(request.url) if _is_foreign(request.url) else None,
    )
    yield page
    page.close()
    assert complaints == []


def _is_foreign(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "data:"))


def names(page: Page) -> list[str]:
    return page.locator("table.runs tbody th").all_inner_texts()


TRAINING = """
import sys, wandb
run = wandb.init(project="faces", name="<b>live</b> run", config={"lr": 0.1})
print("RUN", run.url, flush=True)
print("SWEEP", run.sweep_url or "-", flush=True)
for line in sys.stdin:
    first, last = map(int, line.split())
    for epoch in range(first, last + 1):
        run.log({"epoch": epoch, "train/loss": 2 / epoch, "train_eval/loss": 1.9 / epoch, "val/loss": 2.1 / epoch,
                 "train/accuracy": 1 - 0.7 / epoch, "val/accuracy": 1 - 0.8 / epoch, "reward": epoch})
        print("trained epoch", epoch, flush=True)
run.finish()
print("DONE", flush=True)
"""


class Training:
    """A script with the unmodified client, in a process of its own, that trains when told."""

    def __init__(self, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", TRAINING],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.run_url = self.wait_for("RUN")
        self.sweep_url = self.wait_for("SWEEP")

    def train(self, first: int, last: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{first} {last}\n")
        self._process.stdin.flush()

    def wait_for(self, word: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(word):
                return line.removeprefix(word).strip()
        raise AssertionError(f"the script ended before it said {word}")

    def finish(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self.wait_for("DONE")
        self.close()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


@pytest.mark.wandb_client
def test_the_link_that_wandb_prints_leads_through_project_sweep_and_a_live_run(
    page: Page, local_server: LocalServer, tmp_path: Path
) -> None:
    (tmp_path / "sweep.yaml").write_text(
        "program: train.py\nmethod: random\nname: Which rate?\nmetric: {name: val/accuracy, goal: maximize}\n"
        "parameters: {lr: {values: [0.1, 0.01]}}\n"
    )
    made = subprocess.run(
        ["wandb", "sweep", "--project", "faces", "sweep.yaml"],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "WANDB_SILENT": "false",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
    )
    printed = re.search(r"View sweep at: (\S+)", made.stderr + made.stdout)
    assert printed is not None
    training = Training(  # what an agent sets
        WANDB_SWEEP_ID=printed[1].rpartition("/")[2], WANDB_PROJECT="faces", WANDB_ENTITY="local"
    )
    try:
        assert training.sweep_url.partition("?")[0] == printed[1]
        training.train(1, 3)
        training.wait_for("trained epoch 3")

        page.goto(printed[1])
        assert page.locator("h1").inner_text() == "Which rate?"
        page.locator("nav.crumbs").get_by_role("link", name="faces").click()
        page.get_by_role("link", name="Which rate?").click()
        page.get_by_role("link", name="<b>live</b> run").first.click()
        assert page.url == training.run_url

        page.get_by_text("of 3.").wait_for()  # epochs: the client sends them within seconds
        curve = page.locator("svg[aria-label^='Accuracy'] path.val")
        before = curve.get_attribute("d")
        training.train(4, 9)
        page.get_by_text("of 9.").wait_for()
        assert curve.get_attribute("d") != before
        assert page.locator("path.clean").count() >= 1
        page.get_by_text("trained epoch 9").wait_for()
        assert page.locator("#live").inner_text() == "live"

        training.finish()
        page.locator("header .chip", has_text="finished").wait_for()
        page.get_by_text("ended", exact=True).wait_for()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.wait_for_timeout(2_500)  # longer than the page waits between two questions
        assert asked == []
    finally:
        training.close()


def test_names_are_inert(page: Page, site: Site) -> None:
    sweep = site.add_sweep(
        {
            "method": "random",
            "name": EVIL,
            "metric": {"name": "val/accuracy", "goal": "maximize"},
            "parameters": {"a": {"values": [EVIL, 1]}},
        }
    )
    for i in range(5):
        site.add_run(
            cases.overfit(12),
            name=f"r{i}",
            display=EVIL,
            sweep=sweep,
            config={"a": EVIL if i % 2 else 1, EVIL: i},
            tags=[EVIL],
            log=[EVIL],
            exit_code=None,
        )
    for path in ("/", "/local/faces", f"/local/faces/sweeps/{sweep}", "/local/faces/runs/r1"):
        page.goto(site.server.url + path)
        if path.endswith("/r1"):  # and the parts that a script puts in
            with page.expect_response(lambda answer: "live.json" in answer.url):
                site.add_run(cases.overfit(14), name="r1", display=EVIL, log=[EVIL], exit_code=None)
        assert "owned" not in page.title().replace(EVIL, "")
        assert page.locator("img").count() == 0
    assert EVIL in page.locator("h1").inner_text()


def test_the_keyboard_sorts_and_filters(page: Page, site: Site) -> None:
    for name, value in (("bravo", 0.5), ("alpha", 0.9), ("charlie", 0.7)):
        site.add_run(name=name, rows=[{"_step": 0, "val/accuracy": value}])
    page.goto(f"{site.server.url}/local/faces")
    assert names(page) == ["charlie", "alpha", "bravo"]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.get_by_label("Filter").focus()
    for _ in range(4):  # state, show, the table's scroll region, the first heading
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("sort=name"))
    assert names(page) == ["alpha", "bravo", "charlie"]
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    page.get_by_label("Filter").fill("ALPHA")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("q=ALPHA"))
    assert names(page) == ["alpha"]
    assert "sort=name" in page.url
    page.get_by_label("State").select_option("failed")
    page.get_by_text("No run matches.").wait_for()


def test_a_live_table_keeps_the_focus_and_the_order(page: Page, site: Site) -> None:
    site.add_run(name="a", rows=[{"_step": 0, "val/accuracy": 0.5}], exit_code=None)
    site.add_run(name="b", rows=[{"_step": 0, "val/accuracy": 0.6}])
    page.goto(f"{site.server.url}/local/faces?sort=-summary.val/accuracy")
    page.get_by_role("link", name="b", exact=True).focus()
    site.add_run(name="c", rows=[{"_step": 0, "val/accuracy": 0.7}])
    page.get_by_role("link", name="c", exact=True).wait_for()
    assert names(page) == ["c", "b", "a"]
    assert page.evaluate("document.activeElement.textContent") == "b"


def test_pointing_at_a_chart_reads_its_values(page: Page, site: Site) -> None:
    site.add_run(cases.healthy(30), name="one")
    page.goto(f"{site.server.url}/local/faces/runs/one")
    figure = page.locator("figure").first
    box = figure.locator("svg.chart").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.98, box["y"] + box["height"] / 2)
    assert re.match(r"epoch 30: .*validation \d\d\.\d %", figure.locator(".readout").inner_text())


def test_without_scripts_everything_is_there(browser: Browser, site: Site) -> None:
    sweep = site.add_mixed_sweep(6)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site.server.url}/local/faces/sweeps/{sweep}")
    assert len(names(page)) == 6
    page.get_by_role("link", name=re.compile("overfit")).click()
    assert len(names(page)) == 2
    page.get_by_role("link", name="run-1").click()
    assert page.locator("svg.chart").count() >= 2
    context.close()


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_no_page_scrolls_sideways(page: Page, site: Site, width: int) -> None:
    sweep = site.add_mixed_sweep(9)
    page.set_viewport_size({"width": width, "height": 800})
    for path in (
        "/",
        "/local/faces",
        f"/local/faces/sweeps/{sweep}",
        "/local/faces/runs/run-1",
        "/login",
    ):
        page.goto(site.server.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_dark_and_light_differ(page: Page, site: Site) -> None:
    colors = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(site.server.url)
        colors.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colors[0] != colors[1]


def test_a_stranger_signs_in_and_is_led_on(browser: Browser, site: Site) -> None:
    site.add_run(name="one")
    context = browser.new_context(extra_http_headers={"x-forwarded-for": "192.0.2.7"})
    page = context.new_page()
    page.goto(f"{site.server.url}/local/faces/runs/one")
    assert page.locator("h1").inner_text() == "Sign in"
    page.get_by_label("API key").fill("wrong")
    page.keyboard.press("Enter")
    assert "does not know that key" in page.get_by_role("alert").inner_text()
    page.get_by_label("API key").fill(_key(site))
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/local/faces/runs/one$"))
    assert page.locator("h1").inner_text() == "one"
    context.close()


def _key(site: Site) -> str:
    from fer_sweep.server.keys import create_key

    return create_key(site.store, "local", "test", now=0.0)[1]
