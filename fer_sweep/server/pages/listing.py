"""The table of runs: its columns, and the rows that a reader asked for by sorting, filtering and paging."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

PAGE_SIZE = 100
MAX_CONFIG_COLUMNS = 8
MAX_SUMMARY_COLUMNS = 5
R = TypeVar("R")


@dataclass(frozen=True)
class Column(Generic[R]):
    """One column.

    Attributes:
        key: Names it in the address.
        label: Its heading.
        value: What to sort by, and to show if nothing else is said; None where a run has nothing.
        is_number: Whether it is set right, and sorted from the top first.
        percent: Whether values are fractions, to be shown in percent.
        kind: How the template shows its cells.
    """

    key: str
    label: str
    value: Callable[[R], Any]
    is_number: bool = False
    percent: bool = False
    kind: str = "text"


@dataclass(frozen=True)
class Query:
    """What a reader asked for, from the address; anything unknown is ignored.

    Attributes:
        sort: Key of a column, with ``-`` for descending.
        words: Every one must occur in a run.
        state: Only runs in this state, if any.
        verdict: Only runs with this verdict, if any.
        page: Page number, from 1.
    """

    sort: str = ""
    words: str = ""
    state: str = ""
    verdict: str = ""
    page: int = 1

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Query:
        """Read it from an address."""
        page = given.get("page", "1")
        return cls(
            sort=given.get("sort", "")[:200],
            words=given.get("q", "")[:200],
            state=given.get("state", "")[:40],
            verdict=given.get("verdict", "")[:40],
            page=int(page) if page.isascii() and page.isdigit() and 0 < len(page) < 7 else 1,
        )

    def address(self, **changes: Any) -> str:
        """The query string of this with something changed; ``?`` if all is as usual."""
        values = {
            "sort": self.sort,
            "q": self.words,
            "state": self.state,
            "verdict": self.verdict,
            "page": 1,
        }
        values.update(changes)
        given = {k: v for k, v in values.items() if v and not (k == "page" and v == 1)}
        return "?" + urlencode(given)


@dataclass(frozen=True)
class Listing(Generic[R]):
    """One page of a table.

    Attributes:
        query: What was asked for.
        columns: The columns.
        rows: The rows of this page.
        matching: Runs that pass the filter.
        total: All runs.
        pages: Number of pages.
    """

    query: Query
    columns: Sequence[Column[R]]
    rows: Sequence[R]
    matching: int
    total: int
    pages: int

    def order(self, column: Column[R]) -> str | None:
        """``ascending`` or ``descending`` if the table is sorted by this column."""
        if self.query.sort.removeprefix("-") != column.key:
            return None
        return "descending" if self.query.sort.startswith("-") else "ascending"

    def sort_address(self, column: Column[R]) -> str:
        """Where a click on the heading leads: numbers from the top first, the other way when sorted already."""
        first, second = f"-{column.key}", column.key
        if not column.is_number:
            first, second = second, first
        return self.query.address(sort=second if self.query.sort == first else first)


def build_listing(
    rows: Sequence[R],
    columns: Sequence[Column[R]],
    query: Query,
    *,
    text: Callable[[R], str],
    state: Callable[[R], str],
    verdict: Callable[[R], str] = lambda _: "",
) -> Listing[R]:
    """Filter, sort and cut.

    Args:
        rows: All runs.
        columns: The columns to sort by.
        query: What was asked for; its page is moved to the last one if there are fewer.
        text: All that the filter's words are looked for in, in lower case.
        state: A run's state.
        verdict: A run's verdict.
    """
    words = query.words.lower().split()
    found = [
        row
        for row in rows
        if (not query.state or state(row) == query.state)
        and (not query.verdict or verdict(row) == query.verdict)
        and (not words or all(word in (text(row)) for word in words))
    ]
    column = next((c for c in columns if c.key == query.sort.removeprefix("-")), None)
    if column is not None:
        found = sort_rows(found, column.value, descending=query.sort.startswith("-"))
    pages = max(math.ceil(len(found) / PAGE_SIZE), 1)
    page = min(query.page, pages)
    query = Query(query.sort, query.words, query.state, query.verdict, page)
    shown = found[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    return Listing(query, columns, shown, len(found), len(rows), pages)


def sort_rows(rows: Sequence[R], value: Callable[[R], Any], *, descending: bool) -> list[R]:
    """Sort by anything: numbers before texts, and what is missing or NaN last, either way."""
    keyed = [(_sort_key(value(row)), row) for row in rows]
    have = [(key, row) for key, row in keyed if key is not None]
    have.sort(key=itemgetter(0), reverse=descending)
    return [row for _, row in have] + [row for key, row in keyed if key is None]


def _sort_key(value: Any) -> tuple[int, Any] | None:
    if value is None or value == "":
        return None
    if isinstance(value, int) or is_number(value):
        return None if value != value else (0, value)
    return (1, value.lower() if isinstance(value, str) else json.dumps(value, sort_keys=True))


def varying(configs: Sequence[Mapping[str, Any]], *, first: Sequence[str] = ()) -> list[str]:
    """Names of the hyperparameters that differ between runs: those of ``first`` in its order, then by name."""
    seen: dict[str, set[str]] = {}
    for config in configs:
        for name, value in config.items():
            seen.setdefault(name, set()).add(repr(value))
    everywhere = {name for name in seen if all(name in config for config in configs)}
    differing = [
        name
        for name, values in seen.items()
        if len(values) > 1 or (name in first and name not in everywhere)
    ]
    order = {name: i for i, name in enumerate(first)}
    return sorted(differing, key=lambda name: (order.get(name, len(order)), name))


_FAVOURITES = ("best/val_accuracy", "val/accuracy", "val/loss", "train/accuracy", "train/loss")


def summary_names(
    summaries: Sequence[Mapping[str, Any]], *, first: Sequence[str] = ()
) -> list[str]:
    """Numbers of the summaries worth a column: what the sweeps optimise, accuracies and losses, then the most common."""
    counts: dict[str, int] = {}
    for summary in summaries:
        for name, value in summary.items():
            if not name.startswith("_") and is_number(value):
                counts[name] = counts.get(name, 0) + 1
    wanted = dict.fromkeys([*first, *_FAVOURITES])
    order = {name: i for i, name in enumerate(wanted)}
    ranked = sorted(
        counts, key=lambda name: (order.get(name, len(order)), "/" not in name, -counts[name], name)
    )
    return ranked[:MAX_SUMMARY_COLUMNS]


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are not, nor is what no float can hold."""
    if isinstance(value, float):
        return True
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1e300


def is_accuracy(name: str, values: Sequence[Any]) -> bool:
    """Whether a metric holds fractions that people read in percent."""
    numbers = [v for v in values if is_number(v) and math.isfinite(v)]
    return "acc" in name.lower() and bool(numbers) and all(0 <= v <= 1 for v in numbers)
