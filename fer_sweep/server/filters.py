"""The run filters and orders of W&B's public API: MongoDB's operators on run fields."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from fer_sweep.server import patterns
from fer_sweep.server.projects import DEFAULT_ENTITY
from fer_sweep.server.runs import current_state
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import RequestError, format_time

DEFAULT_ORDER = "+created_at"
_VALUE_STEP = re.compile(r"\.value(?=\.|$)")  # W&B writes config.lr.value; config.lr means the same
_SUMMARY_ROOTS = ("summary_metrics", "summaryMetrics", "summary")


class RunFields:
    """The fields of one run that filters and orders can name; documents are parsed once, when needed."""

    def __init__(self, run: Record, *, now: float) -> None:
        self.run = run
        self._now = now
        self._documents: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        """The value of a field; None if the run does not have it.

        Raises:
            RequestError: If no run can have such a field.
        """
        root, _, rest = name.partition(".")
        if root == "config":
            return self._config(rest)
        if root in _SUMMARY_ROOTS:
            return _dig(self._document("summary"), rest)
        if root == "tags":
            return self._document("tags")
        simple = _FIELDS.get(name)
        if simple is None:
            known = ", ".join([*_FIELDS, "tags", "config.KEY", "summary_metrics.KEY"])
            raise RequestError(f"runs: no field {name!r} to filter or order by. Known: {known}.")
        return simple(self.run, self._now)

    def _config(self, path: str) -> Any:
        plain = {
            key: item.get("value") if isinstance(item, Mapping) else item
            for key, item in self._document("config").items()
        }
        return _dig(plain, _VALUE_STEP.sub("", path, count=1))

    def _document(self, column: str) -> Any:
        if column not in self._documents:
            self._documents[column] = json.loads(getattr(self.run, column))
        return self._documents[column]


_FIELDS: Mapping[str, Callable[[Record, float], Any]] = {
    "name": lambda run, _: run.name,
    "display_name": lambda run, _: run.display_name,
    "displayName": lambda run, _: run.display_name,
    "state": lambda run, now: current_state(run, now=now),
    "sweep": lambda run, _: run.sweep_name,
    "group": lambda run, _: run.group_name,
    "job_type": lambda run, _: run.job_type,
    "jobType": lambda run, _: run.job_type,
    "notes": lambda run, _: run.notes,
    "host": lambda run, _: run.host,
    "username": lambda _run, _: DEFAULT_ENTITY,
    "user": lambda _run, _: DEFAULT_ENTITY,
    "commit": lambda run, _: run.git_commit,
    "created_at": lambda run, _: format_time(run.created_at),
    "createdAt": lambda run, _: format_time(run.created_at),
    "heartbeat_at": lambda run, _: format_time(run.heartbeat_at),
    "heartbeatAt": lambda run, _: format_time(run.heartbeat_at),
    "updatedAt": lambda run, _: format_time(run.heartbeat_at),
    "duration": lambda run, _: run.heartbeat_at - run.created_at,
}


def parse_filters(text: str | None) -> dict[str, Any]:
    """Read the client's filter document.

    Raises:
        RequestError: If it is not a JSON object.
    """
    try:
        filters = json.loads(text or "{}")
    except ValueError as error:
        raise RequestError(f"filters: not JSON ({error}).") from error
    if not isinstance(filters, dict):
        raise RequestError(f"filters: must be an object (got {type(filters).__name__}).")
    return filters


def split_sweep(filters: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Take an equality on the sweep out of a filter, for the database to answer by its index.

    Example:
        >>> split_sweep({"$and": [{"sweep": "ab12"}, {"state": "failed"}]})
        ('ab12', {'$and': [{'state': 'failed'}]})
        >>> split_sweep({"sweep": "ab12"})
        ('ab12', {})
    """
    conditions = list(_conditions(filters))
    wanted = next((c for c in conditions if c[0] == "sweep" and isinstance(c[1], str)), None)
    if wanted is None:
        return None, dict(filters)
    conditions.remove(wanted)
    rest = [{key: value} for key, value in conditions]
    return wanted[1], {"$and": rest} if rest else {}


def _conditions(filters: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a run must fulfil, with nested ``$and`` laid flat."""
    for key, value in filters.items():
        if key == "$and":
            for part in value:
                yield from _conditions(part)
        else:
            yield key, value


def matches(fields: RunFields, filters: Mapping[str, Any]) -> bool:
    """Whether a run passes a filter document.

    Raises:
        RequestError: If the document uses an operator or field that does not exist.
    """
    return all(_matches_one(fields, key, wanted) for key, wanted in filters.items())


def sort_runs(runs: Sequence[RunFields], order: str | None) -> list[RunFields]:
    """Order runs by comma-separated fields, each with ``+`` or ``-``; runs without the field come last."""
    ordered = list(runs)
    parts = [part.strip() for part in (order or DEFAULT_ORDER).split(",") if part.strip()]
    for part in reversed(parts):  # sorting is stable, so the last field goes first
        keyed = [(run.get(part.lstrip("+-")), run) for run in ordered]
        have = [(_sort_key(value), run) for value, run in keyed if value is not None]
        have.sort(key=itemgetter(0), reverse=part.startswith("-"))
        ordered = [run for _, run in have] + [run for value, run in keyed if value is None]
    return ordered


def _sort_key(value: Any) -> tuple[int, Any]:
    """Numbers before texts, so that mixed values can be compared at all; NaN below every number."""
    if isinstance(value, bool | int | float):
        return (0, float("-inf") if math.isnan(value) else value)
    return (1, value if isinstance(value, str) else json.dumps(value, sort_keys=True))


def _matches_one(fields: RunFields, key: str, wanted: Any) -> bool:
    if key == "$and":
        return all(matches(fields, part) for part in wanted)
    if key == "$or":
        return any(matches(fields, part) for part in wanted)
    if key == "$nor":
        return not any(matches(fields, part) for part in wanted)
    if key == "$not":
        return not matches(fields, wanted)
    return _satisfies(fields.get(key), wanted)


def _satisfies(value: Any, wanted: Any) -> bool:
    if not (isinstance(wanted, Mapping) and any(name.startswith("$") for name in wanted)):
        return _equal(value, wanted)
    return all(_apply(name, value, operand) for name, operand in wanted.items())


def _apply(name: str, value: Any, operand: Any) -> bool:
    if name == "$not":
        return not _satisfies(value, operand)
    operator = _OPERATORS.get(name)
    if operator is None:
        raise RequestError(
            f"filters: unknown operator {name}. Known: {', '.join([*_OPERATORS, '$not'])}."
        )
    return operator(value, operand)


def _equal(value: Any, wanted: Any) -> bool:
    """MongoDB's equality: a list also equals each of its items."""
    if isinstance(value, list) and not isinstance(wanted, list):
        return wanted in value
    return bool(value == wanted)


def _compare(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(value: Any, operand: Any) -> bool:
        try:
            return value is not None and bool(test(value, operand))
        except TypeError:  # a text is neither more nor less than a number
            return False

    return compare


def _search(value: Any, pattern: Any) -> bool:
    return value is not None and patterns.search(str(pattern), str(value))


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$eq": _equal,
    "$ne": lambda value, operand: not _equal(value, operand),
    "$gt": _compare(lambda value, operand: value > operand),
    "$gte": _compare(lambda value, operand: value >= operand),
    "$lt": _compare(lambda value, operand: value < operand),
    "$lte": _compare(lambda value, operand: value <= operand),
    "$in": lambda value, operand: any(_equal(value, item) for item in operand),
    "$nin": lambda value, operand: not any(_equal(value, item) for item in operand),
    "$exists": lambda value, operand: (value is not None) == bool(operand),
    "$regex": _search,
    "$contains": _compare(
        lambda value, operand: isinstance(value, str | list) and operand in value
    ),
    "$all": _compare(lambda value, operand: all(_equal(value, item) for item in operand)),
    "$size": lambda value, operand: isinstance(value, list) and len(value) == operand,
}


def _dig(value: Any, path: str) -> Any:
    """Follow a dotted path into nested mappings; a key may itself contain the dots."""
    if not path:
        return value
    if not isinstance(value, Mapping):
        return None
    if path in value:
        return value[path]
    key, _, rest = path.partition(".")
    return _dig(value.get(key), rest) if rest else None
