"""What holds for every request: headers, hosts, origins, sizes, depths."""

from __future__ import annotations

import gzip
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fer_sweep.server import patterns
from fer_sweep.server.documents import Budget, OverBudgetError
from fer_sweep.server.embedded import LocalServer, start_server
from fer_sweep.server.limits import Limits, RateLimiter, parse_json
from fer_sweep.server.wire import RequestError

INIT = 'mutation { upsertBucket(input: {name: "r", modelName: "p", host: "h"}) { inserted } }'
VIEWER = {"query": "{ viewer { id } }"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalServer]:
    limits = Limits(body_bytes=1024**2, file_bytes=1024**2)
    with start_server(tmp_path / "db" / "server.sqlite", port=0, limits=limits) as server:
        yield server


@pytest.fixture
def http(server: LocalServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, auth=("api", server.api_key), timeout=60) as client:
        client.post("/graphql", json={"query": INIT}).raise_for_status()
        yield client


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/local/p/runs/r"),
        ("GET", "/no/such/<script>/page"),
        ("GET", "/healthz"),
        ("POST", "/graphql"),
        ("POST", "/files/local/p/nobody/file_stream"),
        ("PUT", "/storage/local/p/r/a.html"),
        ("GET", "/storage/local/p/r/b.html"),
        ("DELETE", "/graphql"),
    ],
)
@pytest.mark.parametrize("has_key", [True, False])
def test_every_answer_is_hardened(
    server: LocalServer, method: str, path: str, has_key: bool
) -> None:
    auth = ("api", server.api_key) if has_key else None
    headers = httpx.request(method, server.url + path, auth=auth).headers

    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"  # other sites are told nothing
    assert "no-store" in headers["cache-control"]
    assert "server" not in headers


def test_a_file_is_never_shown_as_a_page(http: httpx.Client) -> None:
    http.put("/storage/local/p/r/a.html", content=b"<script>alert(1)</script>").raise_for_status()

    answer = http.get("/storage/local/p/r/a.html")
    assert answer.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8642", "127.0.0.1.evil.example", "[", ""]
)
def test_a_domain_that_points_here_is_refused(server: LocalServer, host: str) -> None:
    for method, path in (("GET", "/"), ("POST", "/graphql"), ("GET", "/healthz")):
        answer = httpx.request(
            method,
            server.url + path,
            headers={"host": host},
            auth=("api", server.api_key),
            json=VIEWER,
        )
        assert answer.status_code in (400, 403), (method, path)
        assert "viewer" not in answer.text


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]"])
def test_this_machines_own_names_are_not(server: LocalServer, name: str) -> None:
    host = f"{name}:{server.url.rpartition(':')[2]}"
    answer = httpx.get(server.url + "/healthz", headers={"host": host})

    assert answer.json() == {"status": "ok"}


def test_a_proxys_name_is_known_by_the_public_url(tmp_path: Path) -> None:
    from fer_sweep.server.keys import create_key
    from fer_sweep.server.store import Store

    database = tmp_path / "server.sqlite"
    store = Store(database)
    _, key = create_key(store, "alice", "laptop", now=0)
    store.close()
    with start_server(database, port=0, public_url="https://lab.example") as server:
        headers = {
            "host": "lab.example",
            "x-forwarded-for": "192.0.2.7",
            "x-forwarded-proto": "https",
        }
        made = httpx.post(
            server.url + "/graphql", json={"query": INIT}, headers=headers, auth=("api", key)
        )
        assert made.status_code == 200
        files = 'mutation { createRunFiles(input: {projectName: "p", runName: "r", files: ["a"]}) { files { uploadUrl } } }'
        answer = httpx.post(
            server.url + "/graphql", json={"query": files}, headers=headers, auth=("api", key)
        )
    (file,) = answer.json()["data"]["createRunFiles"]["files"]
    assert file["uploadUrl"].startswith("https://lab.example/storage/alice/p/r/a?")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
def test_a_foreign_page_can_change_nothing(http: httpx.Client, headers: dict[str, str]) -> None:
    body = {"query": INIT.replace('"r"', '"foreign"')}
    assert http.post("/graphql", json=body, headers=headers).status_code == 403
    stream = http.post("/files/local/p/r/file_stream", json={"complete": True}, headers=headers)
    assert stream.status_code == 403
    assert http.put("/storage/local/p/r/x", content=b"", headers=headers).status_code == 403

    query = {"query": '{ project(name: "p") { runs { totalCount } run(name: "r") { state } } }'}
    found = http.post("/graphql", json=query).json()["data"]["project"]
    assert found == {"runs": {"totalCount": 1}, "run": {"state": "running"}}


def test_the_servers_own_pages_can(http: httpx.Client, server: LocalServer) -> None:
    headers = {"origin": server.url, "sec-fetch-site": "same-origin"}

    assert http.post("/graphql", json=VIEWER, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/graphql", "/files/local/p/r/file_stream"])
def test_a_body_that_is_too_large_is_refused_even_if_it_was_small(
    http: httpx.Client, path: str
) -> None:
    large = b'{"query": "' + b"x" * 2 * 1024**2 + b'"}'
    bomb = gzip.compress(gzip.compress(b"0" * 200 * 1024**2, 9), 9)
    layers = {"content-encoding": "gzip"}

    assert http.post(path, content=large).status_code == 413
    assert http.post(path, content=gzip.compress(large), headers=layers).status_code == 413
    started = time.monotonic()
    answer = http.post(path, content=gzip.compress(b"[" * 100 * 1024**2), headers=layers)
    assert answer.status_code == 413
    assert http.post(path, content=bomb, headers=layers).status_code == 400
    assert time.monotonic() - started < 10
    for encoding in ("br", "gzip, gzip", "zstd"):
        answer = http.post(path, content=bomb, headers={"content-encoding": encoding})
        assert answer.status_code == 400
    cut = gzip.compress(json.dumps(VIEWER).encode())[:-9]
    assert http.post(path, content=cut, headers=layers).status_code == 400


def test_a_file_that_is_too_large_leaves_nothing_behind(http: httpx.Client, tmp_path: Path) -> None:
    answer = http.put("/storage/local/p/r/big.bin", content=b"x" * (1024**2 + 1))

    assert answer.status_code == 413
    assert "--max-file-mb" in answer.json()["error"]
    assert [path for path in tmp_path.rglob("*") if "big.bin" in path.name] == []


@pytest.mark.parametrize(
    "name",
    [
        "../x", "..%2Fx", "%2e%2e/x", "a/../../x", "%2Fetc%2Fpasswd", "a%00b", "a%5C..%5Cb", "x" * 300, "a/" * 1500 + "b",
        ".x.part", ".a.txt.1234.part", "link/x", "link", "a%0Ab",
    ],
)  # fmt: skip
def test_a_file_stays_in_its_runs_folder(http: httpx.Client, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "db" / "server.sqlite.files" / "local" / "p" / "r"
    folder.mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (folder / "link").symlink_to(tmp_path / "outside")
    before = sorted(tmp_path.rglob("*"))

    answer = http.put(f"/storage/local/p/r/{name}", content=b"x")

    assert answer.status_code in (400, 401, 403, 404, 405), answer.status_code
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("{" + "a{" * 60 + "b" + "}" * 61, "nested deeper"),
        ("{ viewer(a: " + "[" * 60 + "]" * 60 + ") { id } }", "nested deeper"),
        ("{ ...A } fragment A on Query { viewer { id } ...A }", "contains itself"),
        ("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }", "contains itself"),
        ("{ ...Nobody }", "no fragment Nobody"),
        (
            "{ ...F0 }" + "".join(f" fragment F{i} on Query {{ ...F{i + 1} ...F{i + 1} }}" for i in range(30))
            + " fragment F30 on Query { viewer { id } }",
            "fields",
        ),
        ("{" + " ".join(f"a{i}: viewer {{ id }}" for i in range(3000)) + "}", "at most|tokens"),
        ("{ viewer { id } } #" + "x" * 200_000, "characters"),
        ("{ viewer { " + "id " * 20_000 + "} }", "tokens"),
        (" ".join(f"fragment F{i} on Query {{ x }}" for i in range(200)) + " { viewer { id } }", "definitions"),
    ],
    ids=["deep", "deep-list", "self", "cycle", "missing", "doubling", "aliases", "long", "tokens", "definitions"],
)  # fmt: skip
def test_a_document_that_asks_for_too_much_is_refused_at_once(
    http: httpx.Client, query: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    started = time.monotonic()
    answer = http.post("/graphql", json={"query": query})

    assert answer.status_code == 400
    assert any(word in answer.json()["errors"][0]["message"] for word in said.split("|"))
    assert time.monotonic() - started < 5
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_work_that_grows_with_every_level_ends(http: httpx.Client) -> None:
    """Every run has its project, which has every run, which has its project ..."""
    for number in range(30):
        body = {"query": INIT.replace('"r"', f'"n{number}"')}
        http.post("/graphql", json=body).raise_for_status()
    query = '{ project(name: "p") { ' + "runs { edges { node { project { " * 6 + "id"
    query += " } } } }" * 6 + " } }"
    budget = Budget(fields=1)
    budget.spend()
    with pytest.raises(OverBudgetError):
        budget.spend()

    started = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fer_sweep.server.graphql.Budget", lambda: Budget(fields=20_000))
        answer = http.post("/graphql", json={"query": query})
    assert answer.status_code == 400
    assert "asks for too much" in answer.json()["errors"][0]["message"]
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|aa)+$", "(.*)*x", "a*b*c*d*", r"((a*)\2)*", "(a{1,9}){1,9}", "x" * 201, "(", "(?:ab|cd)*"]
)  # fmt: skip
def test_a_pattern_that_could_take_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(RequestError, match="filters"):
        patterns.search(pattern, "a" * 500)


@pytest.mark.parametrize(
    ("pattern", "found"), [("^foo.*bar", True), ("a|foo", True), ("o{2}-ba?r$", True), ("(?i)FOO", True), (r"\d+", False)]
)  # fmt: skip
def test_ordinary_patterns_work(pattern: str, found: bool) -> None:
    assert patterns.search(pattern, "foo-bar") is found


@pytest.mark.parametrize(
    "text", ["[" * 101 + "]" * 101, '{"a":' * 101 + "1" + "}" * 101, r'"\ud800"', "[" * 100_000, "1" * 5000]
)  # fmt: skip
def test_json_that_python_should_not_touch_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"deep|surrogate|digits"):
        parse_json(text, "x")


def test_brackets_in_texts_do_not_count_as_depth() -> None:
    assert parse_json(json.dumps(["[" * 500, '"]{' * 300]), "x") == ["[" * 500, '"]{' * 300]


def test_a_rate_is_refilled_and_each_has_its_own() -> None:
    now = [0.0]
    meter = RateLimiter(clock=lambda: now[0], burst_s=2)
    for _ in range(20):
        meter.spend("a", 10)
    with pytest.raises(RequestError, match="more than 10 requests"):
        meter.spend("a", 10)
    meter.spend("b", 10)
    now[0] = 0.5
    for _ in range(5):
        meter.spend("a", 10)
    with pytest.raises(RequestError):
        meter.spend("a", 10)
