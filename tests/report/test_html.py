"""The page: one file, nothing fetched, names inert; opened in a real browser."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest

from fer_sweep.charts import accuracy_chart, loss_chart, ticks
from fer_sweep.diagnosis import RULES, cases
from fer_sweep.errors import ConfigError
from fer_sweep.history import History
from fer_sweep.report import Report, build_report, to_html, write_html
from fer_sweep.report.html import safe_url

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def named(history: History, name: str, **more: Any) -> History:
    return replace(history, run_id=name, run_name=name, **more)


@pytest.fixture(scope="module")
def report() -> Report:
    histories = [
        named(cases.overfit(30, config={"dropout": 0.0, "arch": "cnn8_bn"}), "alpha"),
        named(cases.val_above(clean=0.02, config={"dropout": 0.5, "arch": "cnn4_bn"}), "bravo"),
        named(
            cases.healthy(config={"dropout": 0.2, "arch": EVIL}),
            EVIL,
            url="javascript:alert(1)",
            tags=(EVIL,),
        ),
        named(
            cases.diverged(
                state="failed",
                summary={"failure/cause": EVIL, "failure/message": EVIL, "failure/traceback": EVIL},
            ),
            "delta",
        ),
        named(cases.run(state="crashed"), "echo"),
    ]
    return build_report(
        histories, sweep={"title": EVIL, "url": "https://wandb.example/x", "state": "FINISHED"}
    )


class TestText:
    def test_nothing_is_fetched_from_anywhere(self, report: Report) -> None:
        text = to_html(report)
        links = re.findall(r"(?:src|href)=\"([^\"]*)\"", text)
        outside = [link for link in links if not link.startswith(("#", "data:,"))]
        assert outside == ["https://wandb.example/x"]  # a link to click, to the sweep's page
        assert "url(" not in text
        assert "@import" not in text

    def test_the_policy_allows_only_this_style_and_script(self, report: Report) -> None:
        text = to_html(report)
        (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
        assert policy.startswith("default-src &#39;none&#39;") or policy.startswith(
            "default-src 'none'"
        )
        assert "unsafe" not in policy
        assert " style=" not in text

    def test_names_and_values_are_escaped(self, report: Report) -> None:
        text = to_html(report)
        assert "<script>document" not in text
        assert "<img" not in text
        assert text.count("<script>") == 1
        assert "javascript:" not in text

    def test_every_flag_links_to_its_rule(self, report: Report) -> None:
        text = to_html(report)
        for code in RULES:
            assert f'id="rule-{code}"' in text
        targets = set(re.findall(r'href="#([^"]+)"', text))
        ids = set(re.findall(r'id="([^"]+)"', text))
        assert targets <= ids
        assert len(re.findall(r'id="([^"]+)"', text)) == len(ids)

    def test_a_hundred_runs_stay_under_3_megabytes(self) -> None:
        histories = [
            named(cases.val_above(100, clean=0.02, config={"dropout": i}), f"run-{i}")
            for i in range(100)
        ]
        assert len(to_html(build_report(histories, sweep={})).encode()) < 3_000_000

    def test_no_runs_is_a_page_too(self) -> None:
        assert "There are no runs yet." in to_html(build_report([], sweep={}))

    @pytest.mark.parametrize(
        "url",
        [
            "javascript:alert(1)",
            "data:text/html,x",
            "",
            "//host/x",
            "file:///etc/passwd",
            "http://127.0.0.1:8642/x",
            "http://[::1/x",
            "http://",
        ],
    )
    def test_only_web_addresses_that_last_become_links(self, url: str) -> None:
        assert safe_url(url) == ""

    def test_the_clouds_pages_are_linked(self) -> None:
        assert safe_url("https://wandb.ai/a/b/runs/c") == "https://wandb.ai/a/b/runs/c"


class TestWriting:
    def test_the_file_is_replaced_whole(self, report: Report, tmp_path: Path) -> None:
        target = tmp_path / "new" / "report.html"
        write_html(report, target)
        write_html(report, target)
        assert target.read_text(encoding="utf-8") == to_html(report)
        assert list(target.parent.iterdir()) == [target]

    def test_a_path_that_cannot_be_written_is_a_clear_error(
        self, report: Report, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(ConfigError, match=r"file/report\.html: the report cannot be written"):
            write_html(report, tmp_path / "file" / "report.html")


class TestCharts:
    def svg(self, history: History, kind: str = "accuracy") -> ElementTree.Element:
        (run,) = build_report([history], sweep={}).runs
        return ElementTree.fromstring(
            str((accuracy_chart if kind == "accuracy" else loss_chart)(run))
        )

    def titles(self, svg: ElementTree.Element) -> list[str]:
        return [element.text or "" for element in svg.iter("title")]

    def test_curves_best_epoch_and_flagged_epochs_are_drawn(self) -> None:
        svg = self.svg(cases.overfit(30), "loss")
        assert [path.get("data-name") for path in svg.iter("path")] == [
            "train, running",
            "validation",
        ]
        titles = self.titles(svg)
        assert any(title.startswith("best epoch ") and "±" in title for title in titles)
        assert any(
            re.match(r"FS101 overfit-loss-turn-up, epochs \d+ to 30: ", title) for title in titles
        )

    def test_holes_break_the_line(self) -> None:
        svg = self.svg(cases.run(val__accuracy=[0.1, 0.2, math.nan, 0.3, 0.4]))
        (path,) = [path for path in svg.iter("path") if "curve" in (path.get("class") or "")]
        assert (path.get("d") or "").count("M") == 2

    def test_logged_nan_is_marked_not_hidden(self) -> None:
        assert "NaN or Infinity was logged at epochs 6 to 12" in self.titles(
            self.svg(cases.diverged(), "loss")
        )

    def test_an_exploding_loss_does_not_flatten_the_rest(self) -> None:
        svg = self.svg(cases.run(train__loss=[2.0, 1.5, 1.2, 1.0, 0.9, 1e30]), "loss")
        assert float(svg.get("data-high") or "inf") < 10

    def test_long_runs_are_thinned_but_keep_their_best_epoch(self) -> None:
        values = np.linspace(0.2, 0.5, 3001)
        values[1234] = 0.9
        svg = self.svg(cases.run(val__accuracy=values))
        (path,) = svg.iter("path")
        points = re.findall(r"[ML]([\d.]+),([\d.]+)", path.get("d") or "")
        assert len(points) <= 241
        (circle,) = svg.iter("circle")
        assert any(
            abs(float(x) - float(circle.get("cx") or 0)) < 0.2
            and abs(float(y) - float(circle.get("cy") or 0)) < 0.2
            for x, y in points
        )

    @pytest.mark.parametrize("values", [[0.5], [0.0, 0.0], [1.0, 1.0], [math.inf, 0.5]], ids=str)
    def test_odd_curves_are_still_well_formed(self, values: list[float]) -> None:
        assert self.svg(cases.run(val__accuracy=values, val__loss=values)).tag == "svg"
        assert self.svg(cases.run(val__accuracy=values, val__loss=values), "loss").tag == "svg"

    def test_ticks_are_round_numbers_inside(self) -> None:
        assert ticks(0.0, 1.0, 4) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] or ticks(0.0, 1.0, 4) == [
            0.0,
            0.25,
            0.5,
            0.75,
            1.0,
        ]
        assert all(30 <= tick <= 64 for tick in ticks(30, 64, 4))


FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api")
    path = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if path is None:
        pytest.skip(
            "THE PAGE WAS NOT TESTED IN A BROWSER: no chromium on PATH. apt-get install chromium"
        )
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.mark.browser
@pytest.mark.slow
class TestInBrowser:
    @pytest.fixture
    def page(self, browser: Browser, report: Report, tmp_path: Path) -> Iterator[Page]:
        write_html(report, tmp_path / "report.html")
        page = browser.new_page()
        page.set_default_timeout(10_000)
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("file:", "data:"))
                else complaints.append(request.url)
            ),
        )
        page.goto((tmp_path / "report.html").as_uri())
        yield page
        page.close()
        assert complaints == []

    def names(self, page: Page) -> list[str]:
        return page.locator("#table tbody tr:visible th").all_inner_texts()

    def test_names_are_text_and_nothing_runs(self, page: Page) -> None:
        assert EVIL in page.title()
        assert page.locator("img").count() == 0
        assert EVIL in self.names(page)

    def test_a_heading_sorts_and_sorts_back(self, page: Page) -> None:
        page.get_by_role("button", name="run", exact=True).click()
        ascending = self.names(page)
        assert ascending[1:] == ["alpha", "bravo", "delta", "echo"]
        page.get_by_role("button", name="run", exact=True).click()
        assert self.names(page) == ascending[::-1]
        assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"

    def test_numbers_sort_as_numbers_and_missing_ones_come_last(self, page: Page) -> None:
        heading = page.get_by_role("button", name="gap", exact=True)
        heading.click()
        assert self.names(page)[0] == "alpha"
        assert self.names(page)[-1] == "echo"
        heading.click()
        assert self.names(page)[0] == "bravo"
        assert self.names(page)[-1] == "echo"

    def test_typing_filters_rows_and_details(self, page: Page) -> None:
        page.get_by_label("Filter").fill("FS201 bravo")
        assert self.names(page) == ["bravo"]
        assert page.locator("details.run:visible").count() == 1
        assert page.locator("#count").inner_text() == "1 of 5"

    def test_nothing_found_says_so_and_offers_the_way_back(self, page: Page) -> None:
        page.get_by_label("Filter").fill("no such run")
        assert page.get_by_text("No run matches.").is_visible()
        page.get_by_role("button", name="Show all runs").click()
        assert len(self.names(page)) == 5

    def test_verdict_buttons_widen_the_selection(self, page: Page) -> None:
        page.get_by_role("button", name=re.compile("overfit")).click()
        assert self.names(page) == ["alpha"]
        page.get_by_role("button", name=re.compile("val-above-train")).click()
        assert sorted(self.names(page)) == ["alpha", "bravo"]

    def test_the_keyboard_reaches_and_sorts(self, page: Page) -> None:
        page.get_by_label("Filter").focus()
        page.keyboard.press("Tab")  # the table's scroll region
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.locator("th[aria-sort]").inner_text().strip() == "run"

    def test_a_run_link_opens_its_details(self, page: Page) -> None:
        page.get_by_role("link", name="alpha").first.click()
        card = page.locator("details.run", has_text="alpha").first
        assert card.get_attribute("open") is not None
        assert card.locator("svg.chart").count() == 2

    def test_pointing_at_a_chart_reads_its_values(self, page: Page, report: Report) -> None:
        page.locator("#toggle").click()
        figure = page.locator("details.run", has_text="bravo").first.locator("figure").first
        chart = figure.locator("svg.chart")
        chart.scroll_into_view_if_needed()
        box = chart.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * 510 / 520, box["y"] + box["height"] / 2)
        run = next(run for run in report.runs if run.history.run_id == "bravo")
        last = run.history.columns["val/accuracy"][-1]
        text = figure.locator(".readout").inner_text()
        assert text.startswith("epoch 30: ")
        shown = float(re.findall(r"validation ([\d.]+) %", text)[0])
        assert shown == pytest.approx(100 * last, abs=0.2)

    @pytest.mark.parametrize("width", [320, 390, 1280])
    def test_the_page_never_scrolls_sideways(self, page: Page, width: int) -> None:
        page.set_viewport_size({"width": width, "height": 800})
        page.locator("#toggle").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    def test_dark_and_light_differ(self, page: Page) -> None:
        colors = []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            colors.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert colors[0] != colors[1]
