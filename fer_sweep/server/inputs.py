"""The forms of what clients send.

A mutation's input is free JSON in the schema, so that clients newer than this server may send more than
it knows; what it does know must have the right type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fer_sweep.server.limits import parse_json
from fer_sweep.server.wire import RequestError

_NUMBERS = ("historyStep", "waitDuration")
_LISTS = (
    "aliases",
    "artifactCollectionNames",
    "artifactFiles",
    "files",
    "tags",
    "tagsToAdd",
    "tagsToDelete",
)
_OBJECT_LISTS = frozenset(
    [
        ("addAliases", "aliases"),
        ("createArtifact", "aliases"),
        ("createArtifact", "tags"),
        ("createArtifactFiles", "artifactFiles"),
        ("deleteAliases", "aliases"),
        ("updateArtifact", "aliases"),
        ("updateArtifact", "tagsToAdd"),
        ("updateArtifact", "tagsToDelete"),
    ]
)
_TEXTS = frozenset(
    [
        "alias",
        "artifactCollectionName",
        "artifactID",
        "artifactManifestID",
        "artifactSequenceID",
        "artifactTypeName",
        "clientID",
        "commit",
        "config",
        "controller",
        "description",
        "digest",
        "displayName",
        "distributedID",
        "entityName",
        "groupName",
        "host",
        "id",
        "jobProgram",
        "jobType",
        "md5",
        "metadata",
        "modelName",
        "name",
        "notes",
        "priorRunsFilters",
        "projectName",
        "runName",
        "runState",
        "scheduler",
        "severity",
        "spec",
        "state",
        "summaryMetrics",
        "sweep",
        "tagName",
        "text",
        "title",
        "type",
    ]
)
_DOCUMENTS = frozenset(
    [
        ("agentHeartbeat", "runState"),
        ("upsertBucket", "config"),
        ("upsertBucket", "summaryMetrics"),
    ]
)
_BAD = 400
_MAX_EXIT_CODE = 1 << 31
_MAX_LINES = 1 << 53


def check_input(mutation: str, given: Any) -> Mapping[str, Any]:
    """Return a mutation's input if all that is known of it has the right type.

    Args:
        mutation: The mutation's name in the schema.
        given: Its ``input``, with what the client left out removed.

    Raises:
        RequestError: Naming the first field that is wrong.
    """
    if not isinstance(given, Mapping):
        raise _wrong(mutation, "input", "an object", given)
    for name, value in given.items():
        if value is not None:
            _check_field(mutation, name, value)
    return given


def _check_field(mutation: str, name: str, value: Any) -> None:
    if name in _LISTS:
        _check_list(mutation, name, value)
    elif name in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1 << 53:
            raise _wrong(mutation, name, "a number", value)
        if value != value or value % 1:
            raise _wrong(mutation, name, "a whole number", value)
    elif name in _TEXTS:
        if not isinstance(value, str):
            raise _wrong(mutation, name, "text", value)
        if (mutation, name) in _DOCUMENTS and (value or name != "runState"):
            _check_document(mutation, name, value)


def _check_list(mutation: str, name: str, value: Any) -> None:
    if not isinstance(value, list):
        raise _wrong(mutation, name, "a list", value)
    for item in value:
        if (mutation, name) not in _OBJECT_LISTS:
            if not isinstance(item, str):
                raise _wrong(mutation, name, "a list of texts", item)
        elif not isinstance(item, Mapping):
            raise _wrong(mutation, name, "a list of objects", item)
        else:
            check_input(mutation, item)


def _check_document(mutation: str, name: str, text: str) -> None:
    try:
        document = parse_json(text, name)
    except ValueError as error:
        raise RequestError(f"{mutation}: {name}: not JSON ({error}).", status=_BAD) from error
    if not isinstance(document, Mapping):
        raise _wrong(mutation, name, "a JSON object", document)


def _wrong(mutation: str, name: str, wanted: str, got: Any) -> RequestError:
    return RequestError(
        f"{mutation}: {name}: must be {wanted} (got {type(got).__name__}).", status=_BAD
    )


def check_stream(body: Mapping[str, Any]) -> None:
    """Refuse a file_stream body that does not have the form of wandb's.

    Raises:
        RequestError: Naming the first thing that is wrong.
    """
    chunks = body.get("files") or {}
    if not isinstance(chunks, Mapping):
        raise _no_stream("files must be an object")
    for name, chunk in chunks.items():
        if not isinstance(chunk, Mapping) or not isinstance(chunk.get("content"), list):
            raise _no_stream(f"{name} must have a list as content")
        if not _is_count(chunk.get("offset") or 0):
            raise _no_stream(f"{name}: offset must be a number of lines")
        if name == "wandb-summary.json" and chunk["content"]:
            _check_summary(str(chunk["content"][-1]))
    code = body.get("exitcode")
    if code is not None and (not isinstance(code, int) or abs(code) > _MAX_EXIT_CODE):
        raise _no_stream("exitcode must be a number")


def _check_summary(text: str) -> None:
    try:
        summary = parse_json(text, "summary")
    except ValueError as error:
        raise _no_stream(f"the summary is not JSON: {error}") from error
    if not isinstance(summary, Mapping):
        raise _no_stream("the summary must be an object")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value <= _MAX_LINES


def _no_stream(problem: str) -> RequestError:
    return RequestError(f"file_stream: not what wandb sends ({problem}).", status=_BAD)
