"""Who may read the pages: the server's own user, and browsers that signed in with a key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fer_sweep.server.app import create_app
from fer_sweep.server.keys import create_key, revoke_key
from fer_sweep.server.store import Store

HERE, AWAY = ("127.0.0.1", 1), ("192.0.2.7", 1)
"""The test client's connections are none that the kernel knows, so neither is the server's own user's."""


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Any) -> Iterator[Store]:
    store = Store(tmp_path / "server.sqlite")
    yield store
    store.close()


class Browser:
    """Keeps cookies and follows nothing; says of itself where it is."""

    def __init__(self, store: Store, clock: Clock, client: tuple[str, int]) -> None:
        self._transport = httpx.ASGITransport(create_app(store, clock=clock), client=client)
        self.cookies = httpx.Cookies()

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            async with httpx.AsyncClient(
                transport=self._transport, base_url="http://127.0.0.1", cookies=self.cookies
            ) as client:
                answer = await client.request(method, path, **more)
                self.cookies = client.cookies
                return answer

        return asyncio.run(send())

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.request("POST", path, **more)


def browser(store: Store, clock: Clock, client: tuple[str, int] = HERE) -> Browser:
    return Browser(store, clock, client)


def sign_in(page: Browser, key: str, wanted: str = "/") -> httpx.Response:
    return page.post("/login", data={"key": key, "next": wanted})


def test_a_stranger_is_asked_for_a_key_and_learns_nothing(store: Store, clock: Clock) -> None:
    page = browser(store, clock).get("/local/faces?sort=name")
    assert page.status_code == 401
    assert "API key" in page.text
    assert 'name="next" value="/local/faces?sort=name"' in page.text
    assert browser(store, clock).get("/no/such").status_code == 401


def test_signing_in_leads_on_and_lasts(store: Store, clock: Clock) -> None:
    page = browser(store, clock)
    answer = sign_in(page, store.api_key, "/local?x=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/local?x=1")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert store.api_key not in answer.headers["set-cookie"]
    assert page.get("/").status_code == 200
    clock.now += 31 * 24 * 3600
    assert page.get("/").status_code == 401


def test_a_wrong_key_is_refused_in_words(store: Store, clock: Clock) -> None:
    answer = sign_in(browser(store, clock), "x" * 40)
    assert answer.status_code == 401
    assert "does not know that key" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "https://evil.example", "/\\evil", "/\r\nX: y", ""]
)
def test_signing_in_never_leads_elsewhere(store: Store, clock: Clock, wanted: str) -> None:
    answer = sign_in(browser(store, clock), store.api_key, wanted)
    assert answer.headers["location"] == "/"


def test_a_forged_cookie_opens_nothing(store: Store, clock: Clock) -> None:
    page = browser(store, clock)
    sign_in(page, store.api_key)
    name, value = next(iter(page.cookies.items()))
    digest, expires, signature = value.split(".")
    for forged in (
        f"{digest}.{int(expires) + 1}.{signature}",
        f"{'0' * 64}.{expires}.{signature}",
        f"{digest}.{expires}.",
        "..",
        "é.1.x",
        digest,
    ):
        other = browser(store, clock)
        answer = other.get("/", headers={"cookie": f"{name}={forged}".encode()})
        assert answer.status_code == 401, forged


def test_a_key_opens_its_entity_only_and_ends_when_revoked(store: Store, clock: Clock) -> None:
    made, key = create_key(store, "team", "ada", now=clock())
    _, other = create_key(store, "others", "bob", now=clock())
    page = browser(store, clock, AWAY)
    assert sign_in(page, key).status_code == 303
    assert page.get("/").status_code == 200
    assert page.get("/local").status_code == 404
    assert page.get("/local/faces").status_code == 403
    revoke_key(store, str(made.id), now=clock())
    assert page.get("/").status_code == 401
    assert sign_in(browser(store, clock, AWAY), other).status_code == 303


def test_the_databases_own_key_does_not_work_from_elsewhere(store: Store, clock: Clock) -> None:
    assert sign_in(browser(store, clock, AWAY), store.api_key).status_code == 401
    page = browser(store, clock)
    sign_in(page, store.api_key)
    cookie = "; ".join(f"{name}={value}" for name, value in page.cookies.items())
    stolen = browser(store, clock, AWAY).get("/", headers={"cookie": cookie})
    assert stolen.status_code == 401


def test_signing_out_forgets(store: Store, clock: Clock) -> None:
    page = browser(store, clock)
    sign_in(page, store.api_key)
    assert page.post("/logout").status_code == 303
    assert page.get("/").status_code == 401


def test_a_page_elsewhere_cannot_sign_anybody_in(store: Store, clock: Clock) -> None:
    answer = browser(store, clock).post(
        "/login", data={"key": store.api_key}, headers={"origin": "http://evil.example"}
    )
    assert answer.status_code == 403


def test_the_servers_own_user_needs_no_key_but_a_foreign_name_does(tmp_path: Any) -> None:
    from fer_sweep.server.embedded import start_server

    with start_server(tmp_path / "own.sqlite", port=0) as server, httpx.Client() as client:
        assert client.get(server.url).status_code == 200
        rebound = client.get(server.url, headers={"host": "evil.example:80"})
        assert rebound.status_code in (401, 403)
        assert client.get(server.url, headers={"x-forwarded-for": "192.0.2.7"}).status_code == 401


def test_a_form_that_is_too_long_is_refused(store: Store, clock: Clock) -> None:
    start = time.perf_counter()
    assert sign_in(browser(store, clock), "x" * 1_000_000).status_code == 413
    assert time.perf_counter() - start < 5
