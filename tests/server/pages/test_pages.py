"""The pages over plain HTTP, as a browser without scripts sees them."""

from __future__ import annotations

import html
import json
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from fer_sweep.diagnosis import cases
from fer_sweep.server.files import RunFolder

if TYPE_CHECKING:
    from tests.server.pages.conftest import Site

EVIL = "<script>document.title='owned'</script>\"'><img src=x onerror=alert(1)> ünï 表情"


def text_of(page: str) -> str:
    """What a reader sees, roughly."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page)))


def run_names(page: str) -> list[str]:
    return re.findall(r'<th scope="row"><a data-focus="run-[^"]*" href="[^"]*">([^<]*)</a>', page)


class TestProjects:
    def test_an_empty_database_says_how_to_fill_it(self, site: Site) -> None:
        page = site.get("/")
        assert page.status_code == 200
        assert "fersweep create" in page.text

    def test_lists_every_project_with_its_numbers(self, site: Site) -> None:
        site.add_mixed_sweep(3)
        site.add_run(name="alone", project="other")
        text = text_of(site.get("/").text)
        assert "local / faces 3 1" in text
        assert "local / other 1 0" in text
        assert "faces" in site.get("/local").text

    @pytest.mark.parametrize("path", ["", "/workspace", "/runs", "/table", "/sweeps"])
    def test_a_project_opens_at_every_address_of_wandb(self, site: Site, path: str) -> None:
        sweep = site.add_mixed_sweep(3)
        page = site.get(f"/local/faces{path}")
        assert page.status_code == 200
        assert f'href="/local/faces/sweeps/{sweep}"' in page.text

    def test_runs_sort_by_a_number_both_ways(self, site: Site) -> None:
        for name, value in (("a", 0.5), ("b", 0.9), ("c", 0.7)):
            site.add_run(name=name, rows=[{"_step": 0, "val/accuracy": value}])
        site.add_run(name="empty")
        up = site.get("/local/faces", params={"sort": "summary.val/accuracy"})
        down = site.get("/local/faces", params={"sort": "-summary.val/accuracy"})
        assert run_names(up.text) == ["a", "c", "b", "empty"]
        assert run_names(down.text) == ["b", "c", "a", "empty"]
        assert 'aria-sort="ascending"' in up.text
        assert 'aria-sort="descending"' in down.text
        assert "90.0 %" in down.text

    def test_runs_are_filtered_by_words_and_state(self, site: Site) -> None:
        site.add_run(name="good", config={"lr": 0.1}, tags=["keep"])
        site.add_run(name="bad", config={"lr": 0.01}, exit_code=1)
        assert run_names(site.get("/local/faces?q=lr%3D0.1+KEEP").text) == ["good"]
        assert run_names(site.get("/local/faces?state=failed").text) == ["bad"]
        nothing = text_of(site.get("/local/faces?q=no-such").text)
        assert "No run matches. Show all 2 runs" in nothing

    def test_a_thousand_runs_come_in_pages(self, site: Site) -> None:
        for i in range(1, 1001):
            site.add_run(name=f"r{i:04d}", config={"lr": i})
        first = site.get("/local/faces?sort=name").text
        assert run_names(first) == [f"r{i:04d}" for i in range(1, 101)]
        assert "Page 1 of 10 · 1000 runs" in text_of(first)
        address = re.search(r'rel="next"[^>]*href="([^"]*)"', first)
        assert address is not None
        second = site.get("/local/faces" + html.unescape(address[1]).partition("#")[0]).text
        assert run_names(second)[0] == "r0101"
        assert run_names(site.get("/local/faces?sort=name&page=99").text)[-1] == "r1000"

    @pytest.mark.parametrize(
        "query",
        [
            "page=-1",
            "page=x",
            "page=99999999999",
            "sort=nope",
            "sort=%00",
            "q=%27%22%3C",
            "state=%3Cb%3E",
        ],
    )
    def test_a_strange_address_is_no_error(self, site: Site, query: str) -> None:
        site.add_run(name="a")
        assert site.get(f"/local/faces?{query}").status_code == 200


class TestSweep:
    def test_shows_progress_importance_and_diagnoses(self, site: Site) -> None:
        sweep = site.add_mixed_sweep(9)
        page = site.get(f"/local/faces/sweeps/{sweep}").text
        text = text_of(page)
        assert "random · maximize val/accuracy · 9" in text
        assert "3 ▲ overfit" in text
        assert "3 ✖ diverged" in text
        assert "3 ✔ healthy" in text
        assert 'class="parallel"' in page
        assert "best so far" in page
        assert "method: random" in page
        assert re.search(r"Best: run-\d", text)

    def test_a_verdict_filters(self, site: Site) -> None:
        sweep = site.add_mixed_sweep(6)
        page = site.get(f"/local/faces/sweeps/{sweep}?verdict=overfit&sort=name").text
        assert run_names(page) == ["run-1", "run-4"]

    def test_the_best_run_comes_first(self, site: Site) -> None:
        for goal, expected in (("maximize", "high"), ("minimize", "low")):
            parameters = {"lr": {"values": [1, 2]}}
            metric = {"name": "score", "goal": goal}
            sweep = site.add_sweep({"method": "grid", "metric": metric, "parameters": parameters})
            for name, score in (("low", 1.0), ("high", 2.0)):
                rows = [{"_step": 0, "score": score}]
                site.add_run(name=f"{name}-{goal}", sweep=sweep, rows=rows, config={"lr": 1})
            page = site.get(f"/local/faces/sweeps/{sweep}").text
            assert run_names(page)[0] == f"{expected}-{goal}"

    def test_an_empty_sweep_is_a_page_too(self, site: Site) -> None:
        sweep = site.add_sweep({"method": "random", "parameters": {"a": {"min": 0, "max": 1}}})
        assert "No runs yet" in site.get(f"/local/faces/sweeps/{sweep}").text

    def test_a_second_look_at_many_runs_is_quick(self, site: Site) -> None:
        sweep = site.add_mixed_sweep(200)
        path = f"/local/faces/sweeps/{sweep}"
        deadline = time.monotonic() + 60
        while "yet to be read" in site.get(path).text:
            assert time.monotonic() < deadline
        times = []
        for _ in range(5):
            start = time.perf_counter()
            assert site.get(path).status_code == 200
            times.append(time.perf_counter() - start)
        assert min(times) < 0.3


class TestRun:
    def test_shows_curves_findings_config_summary_and_log(self, site: Site) -> None:
        log = ["2026-01-01T00:00:00.1 \x1b[32mepoch 1\x1b[0m\n", "50 %\r100 %\n"]
        site.add_run(cases.overfit(30), name="one", config={"opt": {"lr": 0.1}}, log=log)
        page = site.get("/local/faces/runs/one").text
        text = text_of(page)
        assert page.count('class="chart"') >= 2
        assert "FS101" in text
        assert "opt.lr 0.1" in text
        assert "n_train 28709" in text
        assert "epoch 1 100 %" in text
        assert "\x1b" not in page

    def test_a_foreign_run_gets_a_chart_per_number(self, site: Site) -> None:
        rows = [{"_step": i, "reward": i * i, "steps/s": 100.0, "note": "x"} for i in range(20)]
        site.add_run(name="rl", rows=rows)
        page = site.get("/local/faces/runs/rl").text
        assert re.findall(r'aria-label="(\S+) by step', page) == ["reward", "steps/s"]
        assert 'class="badge' not in page

    def test_nan_and_infinity_are_shown_as_such(self, site: Site) -> None:
        rows = [{"_step": 0, "loss": 1.0, "x": float("inf")}, {"_step": 1, "loss": float("nan")}]
        site.add_run(name="nan", rows=rows)
        page = site.get("/local/faces/runs/nan")
        assert page.status_code == 200
        assert "loss NaN" in text_of(page.text)

    def test_a_failure_says_why(self, site: Site) -> None:
        summary = {"failure/cause": "out-of-memory", "failure/message": "12 GB were not enough"}
        site.add_run(cases.healthy(summary=summary), name="oom", exit_code=1)
        assert "out-of-memory 12 GB were not enough" in text_of(
            site.get("/local/faces/runs/oom").text
        )

    @pytest.mark.parametrize("view", ["", "/workspace", "/overview", "/logs", "/files", "/system"])
    def test_opens_at_every_address_of_wandb(self, site: Site, view: str) -> None:
        site.add_run(cases.healthy(), name="one")
        assert site.get(f"/local/faces/runs/one{view}").status_code == 200

    def test_files_are_downloaded_never_shown(self, site: Site) -> None:
        site.add_run(name="one")
        folder = RunFolder(site.store.files, "local", "faces", "one").path
        (folder / "media").mkdir(parents=True)
        (folder / "media" / "a b#?.html").write_text("<script>alert(1)</script>")
        page = site.get("/local/faces/runs/one/files").text
        address = re.search(r'href="([^"]*media[^"]*)"', page)
        assert address is not None
        answer = site.get(html.unescape(address[1]))
        assert answer.text == "<script>alert(1)</script>"
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert site.get("/local/faces/runs/one/files/..%2f..%2fx").status_code in (400, 404)
        assert site.get("/local/faces/runs/one/files/none").status_code == 404


class TestStrangeData:
    VALUES: tuple[Any, ...] = (
        10**400,
        -(10**400),
        1e308,
        float("nan"),
        float("-inf"),
        True,
        None,
        "",
        "NaN",
        [],
        {},
        [[1]],
        {"a": {"b": None}},
        {"_type": "histogram", "values": [1]},
        json.loads('{"a":' * 60 + "1" + "}" * 60),
    )

    def test_any_value_anywhere_is_no_error(self, site: Site) -> None:
        parameters = {"x": {"values": [1, 2]}, "y": {"parameters": {"z": {"values": ["a", 1]}}}}
        sweep = site.add_sweep({"method": "random", "parameters": parameters})
        for i, value in enumerate(self.VALUES):
            names = ("val/accuracy", "loss", "epoch", "_step", "_timestamp", "x")
            rows = [{"_step": 0}, *({"_step": j, name: value} for j, name in enumerate(names))]
            config = {"x": value, "y": {"z": value}, "": value}
            site.add_run(name=f"r{i}", sweep=sweep, config=config, rows=rows, display=" ")
        site.add_run(name="rows-of-other-kinds", log=["", "\r", "\x1b[", "\0"])
        paths = ["/local/faces", f"/local/faces/sweeps/{sweep}"]
        paths += [f"/local/faces/runs/r{i}" for i in range(len(self.VALUES))]
        for path in [*paths, "/local/faces/runs/rows-of-other-kinds"]:
            for sort in ("", "-config.x", "config.y.z", "-summary.loss", "-result"):
                answer = site.get(path, params={"sort": sort})
                assert answer.status_code == 200, (path, sort, answer.text)

    @pytest.mark.parametrize(
        "path",
        [
            "/%00",
            "/local/%00",
            "/local/faces/runs/%00",
            "/%ff/%fe",
            "/local/faces/runs/one/files/%00",
            "/a" * 3000,
        ],
    )
    def test_any_address_is_no_error(self, site: Site, path: str) -> None:
        site.add_run(name="one")
        assert site.get(path).status_code in (400, 404)


class TestLive:
    def test_tells_nothing_new_as_nothing(self, site: Site) -> None:
        site.add_run(cases.healthy(10), name="one", exit_code=None)
        first = site.get("/local/faces/runs/one/live.json").json()
        assert first["alive"] is True
        assert "svg" in first["parts"]["run_curves"]
        again = site.get(f"/local/faces/runs/one/live.json?have={first['version']}").json()
        assert "parts" not in again

    def test_ends_with_the_run(self, site: Site) -> None:
        site.add_run(cases.healthy(10), name="one")
        assert site.get("/local/faces/runs/one/live.json").json()["alive"] is False

    def test_tables_keep_their_order(self, site: Site) -> None:
        sweep = site.add_mixed_sweep(3)
        for path in ("/local/faces", f"/local/faces/sweeps/{sweep}"):
            parts = site.get(f"{path}/live.json?sort=-name").json()["parts"]
            assert run_names(parts["listing"]) == ["run-2", "run-1", "run-0"]


class TestSafety:
    def test_names_are_text_everywhere(self, site: Site) -> None:
        parameters = {"arch": {"values": [EVIL, "b"]}, "lr": {"values": [1, 2]}}
        sweep = site.add_sweep(
            {
                "method": "random",
                "name": EVIL,
                "description": EVIL,
                "metric": {"name": EVIL},
                "parameters": parameters,
            }
        )
        for i in range(5):
            site.add_run(
                cases.overfit(12),
                name=f"run-{i}",
                display=EVIL,
                sweep=sweep,
                config={"arch": EVIL if i % 2 else "b", EVIL: EVIL * i, "lr": i % 2},
                tags=[EVIL],
                log=[EVIL + "\n"],
                rows=[
                    {"_step": j, "epoch": j, EVIL: i + j, "val/accuracy": 0.5, "s": EVIL}
                    for j in range(5)
                ],
            )
        for path in (
            "/",
            "/local/faces",
            f"/local/faces/sweeps/{sweep}",
            "/local/faces/runs/run-1",
        ):
            for address in (path, f"{path}/live.json"):
                if address == "//live.json":
                    continue
                body = site.get(address, params={"q": EVIL} if "runs" not in path else {}).text
                assert "<script>document" not in body, address
                assert "<img" not in body, address
        assert (
            html.escape(EVIL).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
            in site.get("/local/faces/runs/run-1").text
        )

    @pytest.mark.parametrize(
        "path",
        [
            "/nobody",
            "/local/none",
            "/local/faces/runs/none",
            "/local/faces/sweeps/none",
            "/local/faces/none",
            f"/{quote(EVIL, safe='')}",
            "/local/faces/runs/one/none",
            "/-/static/none",
        ],
    )
    def test_what_is_not_there_is_404_and_a_page(self, site: Site, path: str) -> None:
        site.add_run(name="one")
        answer = site.get(path)
        assert answer.status_code == 404
        assert "<h1>Nothing here</h1>" in answer.text
        assert "<script>document" not in answer.text

    def test_every_page_forbids_scripts_and_requests_of_others(self, site: Site) -> None:
        site.add_run(cases.healthy(), name="one")
        for path in (
            "/",
            "/local/faces",
            "/local/faces/runs/one",
            "/login",
            "/nope",
            "/local/faces/runs/one/live.json",
        ):
            headers = site.get(path).headers
            assert headers["content-security-policy"].startswith(
                "default-src 'none'; script-src 'self'"
            )
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert "no-store" in headers["cache-control"]
        body = site.get("/local/faces/runs/one").text
        assert " style=" not in body
        assert not re.search(r"\son\w+=", body)
        assert not re.search(r"<script(?! src=\"/-/static/)", body)
        assert not re.search(r'(?:src|href)="(?:https?:)?//', body)

    def test_head_answers_like_get_without_a_body(self, site: Site) -> None:
        site.add_run(name="one")
        for path in ("/", "/local/faces", "/local/faces/runs/one"):
            answer = site.client.head(site.server.url + path)
            assert (answer.status_code, answer.content) == (200, b"")

    def test_style_and_script_may_be_kept(self, site: Site) -> None:
        page = site.get("/").text
        for address in re.findall(r'(?:href|src)="(/-/static/[^"]*)"', page):
            assert "immutable" in site.get(address).headers["cache-control"]
