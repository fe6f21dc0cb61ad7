"""Run filters, orders and paging, through the queries clients send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fer_sweep.errors import TrackingError
from fer_sweep.server.embedded import start_server
from fer_sweep.tracking import Connection, connect

PUT = """mutation UpsertBucket($name: String, $config: JSONString, $tags: [String!], $summary: JSONString, $state: String) {
  upsertBucket(input: {name: $name, modelName: "p", config: $config, tags: $tags, summaryMetrics: $summary, state: $state}) {
    inserted
  }
}"""
RUNS = """query Runs($filters: JSONString, $order: String, $first: Int, $after: String) {
  project(name: "p") {
    runCount(filters: $filters)
    runs(filters: $filters, order: $order, first: $first, after: $after) {
      edges { node { name } cursor } pageInfo { endCursor hasNextPage }
    }
  }
}"""


@pytest.fixture(scope="module")
def conn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """Five runs: a to e, learning rates 0.1 to 0.5."""
    path: Path = tmp_path_factory.mktemp("filters") / "server.sqlite"
    times = iter(range(1_800_000_000, 1_900_000_000))
    with start_server(path, port=0, clock=lambda: float(next(times))) as server:
        conn = connect(server.url, server.api_key, "local", "p")
        for i, name in enumerate("abcde"):
            config = {
                "lr": {"value": (i + 1) / 10},
                "opt": {"value": {"name": "adam" if i % 2 else "sgd"}},
                "a.b": {"value": name},
                "mixed": {"value": i if i < 3 else f"text {9 - i}"},
            }
            summary = {"best/acc": i / 10, "val": {"f1": i}} if i != 4 else {}
            values = {
                "name": name,
                "config": json.dumps(config),
                "summary": json.dumps(summary),
                "tags": ["odd"] if i % 2 else ["even", name],
                "state": "failed" if i == 2 else "finished",
            }
            conn.execute(PUT, values)
        yield conn


def names(conn: Connection, filters: dict[str, Any], order: str | None = None) -> str:
    variables = {"filters": json.dumps(filters), "order": order}
    project = conn.execute(RUNS, variables)["project"]
    found = "".join(edge["node"]["name"] for edge in project["runs"]["edges"])
    assert project["runCount"] == len(found)
    return found


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, "abcde"),
        ({"state": "failed"}, "c"),
        ({"state": {"$ne": "failed"}}, "abde"),
        ({"name": {"$in": ["a", "e", "z"]}}, "ae"),
        ({"config.lr.value": 0.2}, "b"),
        ({"config.lr": {"$gte": 0.2, "$lt": 0.4}}, "bc"),
        ({"config.opt.value.name": "sgd"}, "ace"),
        ({"config.opt.name": {"$regex": "^ad"}}, "bd"),
        ({"config.a.b.value": "d"}, "d"),
        ({"config.nothing": None}, "abcde"),
        ({"config.a.b": {"$contains": "e"}}, "e"),
        ({"tags": {"$contains": "odd"}}, "bd"),
        ({"tags": {"$all": ["even", "c"]}}, "c"),
        ({"tags": {"$size": 2}}, "ace"),
        ({"config.lr": {"$contains": 1}}, ""),
        ({"$or": [{"name": "a"}, {"$and": [{"tags": "odd"}, {"config.lr": {"$gt": 0.3}}]}]}, "ad"),
        ({"config.mixed": {"$gt": 0}}, "bc"),
        ({"summary_metrics.best/acc": {"$lte": 0.1}}, "ab"),
        ({"summary_metrics.val.f1": {"$gt": 2}}, "d"),
        ({"summary_metrics.best/acc": {"$exists": False}}, "e"),
        ({"tags": "even"}, "ace"),
        ({"tags": {"$in": ["c", "odd"]}}, "bcd"),
        ({"tags": {"$nin": ["odd"]}}, "ace"),
        ({"$or": [{"name": "a"}, {"tags": "odd"}]}, "abd"),
        ({"$and": [{"tags": "even"}, {"state": "finished"}]}, "ae"),
        ({"$nor": [{"tags": "even"}, {"name": "b"}]}, "d"),
        ({"$not": {"tags": "even"}}, "bd"),
        ({"config.lr": {"$not": {"$gt": 0.1}}}, "a"),
        ({"sweep": "nothere"}, ""),
        ({"sweep": None, "name": "a"}, "a"),
    ],
    ids=json.dumps,
)
def test_filters_find_what_mongodb_would(
    conn: Connection, filters: dict[str, Any], found: str
) -> None:
    assert names(conn, filters) == found


@pytest.mark.parametrize(
    ("order", "found"),
    [
        ("+created_at", "abcde"),
        ("-created_at", "edcba"),
        ("-createdAt", "edcba"),
        ("-config.lr.value", "edcba"),
        ("-summary_metrics.best/acc", "dcbae"),
        ("+summary_metrics.best/acc", "abcde"),
        ("+state,-name", "cedba"),
        ("-config.mixed", "decba"),
        ("config.mixed", "abced"),
    ],
)
def test_orders_put_runs_without_the_value_last(conn: Connection, order: str, found: str) -> None:
    assert names(conn, {}, order) == found


def test_times_compare_as_texts(conn: Connection) -> None:
    query = '{ project(name: "p") { run(name: "b") { createdAt } } }'
    created_at = conn.execute(query, {})["project"]["run"]["createdAt"]

    assert names(conn, {"created_at": {"$gt": created_at}}) == "cde"
    assert names(conn, {"createdAt": {"$lte": created_at}}) == "ab"


@pytest.mark.parametrize("filters", [{}, {"config.lr": {"$gt": 0}}], ids=["indexed", "filtered"])
def test_pages_cover_every_run_once(conn: Connection, filters: dict[str, Any]) -> None:
    found, cursor = "", None
    while True:
        variables = {"filters": json.dumps(filters), "first": 2, "after": cursor}
        runs = conn.execute(RUNS, variables)["project"]["runs"]
        found += "".join(edge["node"]["name"] for edge in runs["edges"])
        cursor = runs["pageInfo"]["endCursor"]
        if not runs["pageInfo"]["hasNextPage"]:
            break
    assert found == "abcde"


@pytest.mark.parametrize(
    ("filters", "order", "said"),
    [
        ("{", None, "filters.*not JSON"),
        ("[]", None, "must be an object"),
        ('{"stat": "failed"}', None, "no field 'stat'.*Known: name"),
        ('{"state": {"$like": "f"}}', None, "unknown operator \\$like.*Known: \\$eq"),
        ('{"name": {"$regex": "("}}', None, "not a regular expression"),
        ("{}", "-colour", "no field 'colour'"),
    ],
)
def test_a_wrong_filter_is_explained(
    conn: Connection, filters: str, order: str | None, said: str
) -> None:
    with pytest.raises(TrackingError, match=said):
        conn.execute(RUNS, {"filters": filters, "order": order})
