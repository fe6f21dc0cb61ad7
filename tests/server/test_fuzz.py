"""Ten thousand requests that no client would send: none breaks the server, none leaves its folder."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import random
import re
import sqlite3
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import graphql as gql
import pytest

from fer_sweep.server.app import create_app
from fer_sweep.server.limits import Limits
from fer_sweep.server.store import Store

CASES = 10_000
SEED = 20260131
NASTY = [
    "", " ", ".", "..", "../x", "../../../../etc/passwd", "/etc/passwd", "a/../../b", "a\\..\\b", "C:\\x", "x\0y",
    "\0", "%2e%2e%2f", "..%2f..%2fx", "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'; DROP TABLE runs--",
    "{{7*7}}", "${jndi:ldap://x}", "\u202egnp.exe", "e\u0301" * 40, "💥" * 60, "x" * 129, "x" * 300, "a" * 5000, "CON", "nul",
    ".x.part", "link", "link/x", "link/outside.txt", "a//b", "./a", "a/.", "\n", "\r\nSet-Cookie: a=b", "-1", "1e999", "NaN",
    "null", "true", "[]", "{}", "[" * 500, '{"a":' * 200, "{oops", "p", "r", "local", "media/images/a.png",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, -(2**63), 10**40, 0.5, -0.0, 1e308, float("nan"), float("inf"), "",
    [], {}, [[]], {"a": None}, [None], {"$and": []}, ["r"], {"value": 1},
]  # fmt: skip
STREAMS = ["wandb-history.jsonl", "wandb-events.jsonl", "output.log", "wandb-summary.json", "other"]


class Driver:
    """Sends requests to the application in this process, without a socket."""

    def __init__(self, store: Store) -> None:
        limits = Limits(body_bytes=256 * 1024, file_bytes=64 * 1024)
        self.app = create_app(store, limits=limits)
        self._auth = b"Bearer " + store.api_key.encode()

    async def send(
        self, method: str, path: str, body: bytes, *, gzipped: bool = False, query: str = ""
    ) -> tuple[int, bytes]:
        headers = [(b"host", b"127.0.0.1"), (b"authorization", self._auth)]
        headers += [(b"content-encoding", b"gzip")] * gzipped
        raw = path.encode("utf-8", "surrogatepass")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": path, "raw_path": quote(raw).encode(), "query_string": query.encode(), "root_path": "",
            "headers": headers, "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 6),
        }  # fmt: skip
        status, content = 0, b""
        sent = False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if sent:
                await asyncio.sleep(3600)
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def take(message: Any) -> None:
            nonlocal status, content
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                content += message.get("body", b"")

        await self.app(scope, receive, take)
        return status, content


class Monkey:
    """Makes up requests."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        folder = files("fer_sweep.server")
        self._schema = gql.build_schema(folder.joinpath("schema.graphql").read_text("utf-8"))
        sources = [path.read_text("utf-8") for path in Path(str(folder)).glob("*.py")]
        self._inputs = sorted(set(re.findall(r'given(?:\.get\(|\[)"(\w+)"', "".join(sources))))

    def text(self) -> str:
        kind = self.random.random()
        if kind < 0.5:
            return self.random.choice(["r", "p", "local", "p", "r"])
        if kind < 0.9:
            return self.random.choice(NASTY)
        return "".join(chr(self.random.randrange(0x3000)) for _ in range(self.random.randrange(20)))

    def value(self, depth: int = 0) -> Any:
        kind = self.random.random()
        if kind < 0.35:
            return self.text()
        if kind < 0.7 or depth > 3:
            return self.random.choice(VALUES)
        if kind < 0.85:
            return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
        return {self.text(): self.value(depth + 1) for _ in range(self.random.randrange(4))}

    def input(self) -> dict[str, Any]:
        names = self.random.sample(self._inputs, self.random.randrange(1, 8))
        given = {name: self.value() for name in names}
        if self.random.random() < 0.7:
            given |= {"entityName": "local", "projectName": "p", "modelName": "p", "runName": "r"}
        if self.random.random() < 0.3:
            given["config"] = json.dumps(self.value())
        return given

    def document(self) -> str:
        kind = self.random.random()
        mutation = kind < 0.4
        root = self._schema.mutation_type if mutation else self._schema.query_type
        assert root is not None
        text = ("mutation" if mutation else "query") + self._selection(root, 0)
        if kind > 0.9:
            cut = self.random.randrange(len(text))
            text = (
                text[:cut]
                + self.random.choice([*NASTY, "{", "}", "...f", "@x", '"""'])
                + text[cut:]
            )
        return text

    def mutation_by_variable(self) -> dict[str, Any]:
        root = self._schema.mutation_type
        assert root is not None
        name = self.random.choice(list(root.fields))
        query = f"mutation M($x: JSON) {{ {name}(input: $x) {{ __typename }} }}"
        return {"query": query, "variables": {"x": self.input()}, "operationName": "M"}

    def _selection(self, kind: gql.GraphQLObjectType, depth: int) -> str:
        chosen = self.random.sample(
            list(kind.fields), min(len(kind.fields), self.random.randrange(1, 5))
        )
        return "{" + " ".join(self._field(name, kind.fields[name], depth) for name in chosen) + "}"

    def _field(self, name: str, field: gql.GraphQLField, depth: int) -> str:
        arguments = [
            f"{key}: {self._literal(self.input() if key == 'input' else self._argument(arg))}"
            for key, arg in field.args.items()
            if key in ("input", "name") or self.random.random() < 0.5
        ]
        kind = gql.get_named_type(field.type)
        text = name + (f"({', '.join(arguments)})" if arguments else "")
        if isinstance(kind, gql.GraphQLUnionType | gql.GraphQLInterfaceType):
            return text + "{__typename}"
        if isinstance(kind, gql.GraphQLObjectType):
            return text + (self._selection(kind, depth + 1) if depth < 5 else "{__typename}")
        return text

    def _argument(self, argument: gql.GraphQLArgument) -> Any:
        kind = str(gql.get_named_type(argument.type))
        if self.random.random() < 0.1:
            return self.value()
        if kind in ("Int", "Int64"):
            return self.random.choice([0, 1, 2, -1, 1000, 2**31 - 1, 2**63, -(2**70)])
        if kind == "Boolean":
            return self.random.random() < 0.5
        if kind == "JSONString":
            value = self.value()
            text = self.random.choice(
                [json.dumps(value), json.dumps({"$or": [{self.text(): value}]}), self.text()]
            )
            return (
                [text]
                if isinstance(gql.get_nullable_type(argument.type), gql.GraphQLList)
                else text
            )
        return self.text()

    def _literal(self, value: Any) -> str:
        if isinstance(value, dict):
            items = [
                f"{key}: {self._literal(item)}"
                for key, item in value.items()
                if key.isidentifier() and key.isascii()
            ]
            return "{" + ", ".join(items) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(self._literal(item) for item in value) + "]"
        if isinstance(value, float) and value - value != 0:
            return "null"
        return json.dumps(value)

    def stream_body(self) -> Any:
        if self.random.random() < 0.1:
            return self.value()
        chunks: dict[str, Any] = {}
        for name in self.random.sample(STREAMS, self.random.randrange(4)):
            rows = [self._row() for _ in range(self.random.randrange(4))]
            offset = (
                self.random.choice([0, 1, 5, 2**40]) if self.random.random() < 0.8 else self.value()
            )
            chunks[name] = {
                "offset": offset,
                "content": rows if self.random.random() < 0.9 else self.value(),
            }
            if self.random.random() < 0.05:
                chunks[name] = self.value()
        body: dict[str, Any] = {"files": chunks}
        for key in ("complete", "exitcode", "preempting", "uploaded"):
            if self.random.random() < 0.1:
                body[key] = self.value()
        return body

    def _row(self) -> Any:
        if self.random.random() < 0.1:
            return self.value()
        row = {"_step": self.random.randrange(9), "loss": self.random.random()}
        if self.random.random() < 0.4:
            row[self.text()] = self.value()
        if self.random.random() < 0.1:
            row["_step"] = self.value()
        return json.dumps(row) if self.random.random() < 0.9 else self.text()

    def mangle(self, body: bytes) -> bytes:
        kind = self.random.random()
        if kind < 0.9 or not body:
            return body
        at = self.random.randrange(len(body))
        return body[:at] + self.random.randbytes(self.random.randrange(1, 4)) + body[at + 1 :]

    def request(self) -> tuple[str, str, bytes, bool]:
        """Method, path, body, and whether the body claims to be compressed."""
        kind = self.random.random()
        if kind < 0.15:
            return self._packed(
                "POST", "/graphql", json.dumps(self.mutation_by_variable()).encode()
            )
        if kind < 0.45:
            body = {
                "query": self.document(),
                "variables": self.random.choice([{}, {"x": self.value()}, self.value()]),
            }
            return self._packed("POST", "/graphql", json.dumps(body).encode())
        if kind < 0.7:
            run = self.text() if self.random.random() < 0.2 else "r"
            path = f"/files/local/p/{run}/file_stream"
            return self._packed("POST", path, json.dumps(self.stream_body()).encode())
        if kind < 0.9:
            names = (
                [self.text() for _ in range(4)] if kind < 0.75 else ["local", "p", "r", self.text()]
            )
            method = self.random.choice(["PUT", "PUT", "GET", "HEAD"])
            return method, "/storage/" + "/".join(names), self.random.randbytes(9), False
        path = "/" + "/".join(self.text() for _ in range(self.random.randrange(4)))
        method = self.random.choice(["GET", "GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
        return self._packed(method, path, json.dumps(self.value()).encode())

    def _packed(self, method: str, path: str, body: bytes) -> tuple[str, str, bytes, bool]:
        body = self.mangle(body)
        kind = self.random.random()
        if kind < 0.03:
            body = gzip.compress(b"[" * 300_000)  # a bomb: 0.3 KiB that become more than is allowed
            return method, path, body, True
        if kind < 0.1:
            return method, path, self.mangle(gzip.compress(body, 1)), True
        return method, path, body, kind < 0.12


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "data" / "server.sqlite")
    yield store
    store.close()


def everything(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
        if folder / "data" not in (path, *path.parents)
    }


@pytest.mark.slow
def test_ten_thousand_mad_requests(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "outside.txt").write_text("untouched")
    run_folder = store.files / "local" / "p" / "r"
    run_folder.mkdir(parents=True)
    (run_folder / "link").symlink_to(tmp_path / "outside")
    before = everything(tmp_path)
    driver, monkey = Driver(store), Monkey(SEED)
    init = 'mutation { upsertBucket(input: {modelName: "p", name: "r", host: "h"}) { inserted } }'
    statuses: dict[int, int] = {}

    async def play() -> None:
        for number in range(CASES):
            if number % 200 == 0:  # some case will have deleted it
                await driver.send("POST", "/graphql", json.dumps({"query": init}).encode())
            method, path, body, gzipped = monkey.request()
            status, answer = await driver.send(method, path, body, gzipped=gzipped)
            statuses[status] = statuses.get(status, 0) + 1
            case = f"case {number}: {method} {path!r} {body[:2000]!r} -> {status} {answer[:500]!r}"
            assert 200 <= status < 500, case
            assert b"internal error" not in answer, case
            assert not caplog.records, case + caplog.text[:3000]

    asyncio.run(play())

    assert statuses.get(200, 0) > CASES // 10, statuses  # it did get past the door
    assert everything(tmp_path) == before
    assert sqlite3.connect(store.path or "").execute("PRAGMA integrity_check").fetchone() == ("ok",)
