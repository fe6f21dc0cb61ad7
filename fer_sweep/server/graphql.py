"""GraphQL over the schema: unknown operations are refused by name, unknown fields of known types are null.

Clients newer than this server ask for fields it has never heard of. Their generated code fails on a key
that is missing, but takes null; so such fields are answered with null and logged, and only an operation
that does not exist is an error.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import graphql as gql
import sqlalchemy as sa
from graphql.pyutils import Undefined
from sqlalchemy.exc import DBAPIError

from fer_sweep.errors import ConfigError
from fer_sweep.server.clients import check_agent
from fer_sweep.server.documents import Budget, OverBudgetError, parse_document
from fer_sweep.server.inputs import check_input
from fer_sweep.server.limits import parse_json
from fer_sweep.server.nodes import Context
from fer_sweep.server.operations import Mutations, Queries
from fer_sweep.server.store import Store, is_busy, is_full
from fer_sweep.server.wire import RequestError

LOG = logging.getLogger(__name__)
_NULL_FIELD = "_unserved"
_REFUSED, _BUSY = 400, 503
_EXPECTED = (RequestError, ConfigError)
_WITH_FIELDS = (gql.GraphQLObjectType, gql.GraphQLInterfaceType)


@dataclass(frozen=True)
class Request:
    """One GraphQL request.

    Attributes:
        query: The document.
        variables: Its variables.
        operation: Name of the operation to run; empty (as wandb sends) for the only one.
        base_url: The server's address as the client knows it.
        client: The client's ``User-Agent``.
        entity: The only entity it may touch; None: any.
    """

    query: str
    variables: Mapping[str, Any]
    operation: str
    base_url: str
    client: str
    entity: str | None = None


@dataclass(frozen=True)
class Answer:
    """HTTP status and body of the answer."""

    status: int
    body: Mapping[str, Any]


class UnservedError(RequestError):
    """An operation that this server does not have."""


class _RolledBackError(Exception):
    """Carries a mutation's result with errors out of its transaction, which it undoes."""

    def __init__(self, result: gql.ExecutionResult) -> None:
        self.result = result


def unserved_fields(query: str) -> tuple[str, ...]:
    """The fields of a document that are answered with null, as ``Type.field``."""
    return _prepare(query)[1]


def answer(store: Store, request: Request, *, clock: Callable[[], float] = time.time) -> Answer:
    """Run one operation in one transaction; a mutation with any error leaves nothing behind."""
    try:
        check_agent(request.client)
        document, unknown = _prepare(request.query)
        operation = gql.get_operation_ast(document, request.operation or None)
        if operation is None:
            raise RequestError(
                "graphql: the request does not say which of its operations to run.", status=_REFUSED
            )
        for name in unknown:
            LOG.warning(
                "%s asked for %s, which is not served here: answered with null",
                request.client,
                name,
                extra={"once": (request.client, name)},
            )
        return _run(store, request, document, operation, clock)
    except gql.GraphQLSyntaxError as error:
        return _refuse(f"graphql: syntax error ({error.message}).", _REFUSED)
    except UnservedError as error:
        LOG.warning("%s", error, extra={"once": str(error)})
        return _refuse(str(error), error.status)
    except RequestError as error:
        LOG.warning("refused %s: %s", request.client, error)
        return _refuse(str(error), error.status)
    except Exception as error:  # a bug of ours; never a 5xx, which wandb would repeat for minutes
        LOG.exception("bug in a request of %s", request.client)
        return _refuse(_bug(error), _REFUSED)


def _run(
    store: Store,
    request: Request,
    document: gql.DocumentNode,
    operation: gql.OperationDefinitionNode,
    clock: Callable[[], float],
) -> Answer:
    is_mutation = operation.operation == gql.OperationType.MUTATION
    _check_served(operation, request.client)
    transaction: Callable[..., AbstractContextManager[sa.Connection]]
    transaction = store.writing if is_mutation else store.reading
    try:
        with transaction(entity=request.entity) as db:
            context = Context(store, db, request.base_url, now=clock())
            result = gql.execute_sync(
                _schema(),
                document,
                root_value=Mutations(context) if is_mutation else Queries(context),
                variable_values=dict(request.variables),
                operation_name=request.operation or None,
                context_value=Budget(),
                field_resolver=_resolve,
            )
            if is_mutation and result.errors:
                raise _RolledBackError(result)
    except _RolledBackError as rolled_back:
        result = gql.ExecutionResult(None, rolled_back.result.errors)
    except OverBudgetError as error:
        LOG.warning("refused %s: %s", request.client, error)
        return _refuse(str(error), _REFUSED)
    except DBAPIError as error:  # at BEGIN or COMMIT
        return _refuse(*explain_database_error(error))
    return _report(result, request)


def _report(result: gql.ExecutionResult, request: Request) -> Answer:
    if not result.errors:
        return Answer(200, {"data": result.data})
    status, errors = 200, []
    for error in result.errors:
        message, error_status = _explain(error, request)
        status = max(status, error_status)
        errors.append({"message": message, "path": list(error.path or ())})
    return Answer(status, {"data": result.data, "errors": errors})


def _explain(error: gql.GraphQLError, request: Request) -> tuple[str, int]:
    cause = error.original_error
    if isinstance(cause, _EXPECTED):
        LOG.warning("refused %s: %s", request.client, cause)
        return str(cause), cause.status if isinstance(cause, RequestError) else 200
    if isinstance(cause, DBAPIError):
        return explain_database_error(cause)
    if cause is None or isinstance(cause, gql.GraphQLError):
        return f"graphql: {error.message}", _REFUSED
    LOG.error("bug in field %s", error.path, exc_info=cause)
    return _bug(cause), _REFUSED


def _bug(error: Exception) -> str:
    return f"fersweep's local server: internal error ({type(error).__name__}: {error}). Please report it."


def explain_database_error(error: DBAPIError) -> tuple[str, int]:
    """What to tell the client when the database fails, and the HTTP status.

    A database that is busy, or whose disk is full, is a 503: clients keep what they have to say and
    repeat it, so nothing is lost if somebody frees some space within the minutes they go on trying.
    """
    if is_busy(error):
        return "server: the database is busy. Try again.", _BUSY
    if is_full(error):
        LOG.error("server: the disk is full. Free some space: clients are waiting.")
        return "server: the disk is full. Free some space.", _BUSY
    LOG.error("database error", exc_info=error)
    return f"server: the database cannot be written ({error.orig}). Free some disk space.", _REFUSED


def _refuse(message: str, status: int) -> Answer:
    return Answer(status, {"data": None, "errors": [{"message": message}]})


def _check_served(operation: gql.OperationDefinitionNode, client: str) -> None:
    """Refuse an operation none of whose fields may be silently null.

    Raises:
        UnservedError: If it uses a query or mutation that the schema does not have.
    """
    schema = _schema()
    root = (
        schema.mutation_type
        if operation.operation == gql.OperationType.MUTATION
        else schema.query_type
    )
    known = root.fields if root and operation.operation != gql.OperationType.SUBSCRIPTION else {}
    for selection in operation.selection_set.selections:
        name = selection.name.value if isinstance(selection, gql.FieldNode) else "__typename"
        if name not in known and not name.startswith("__"):
            title = operation.name.value if operation.name else name
            raise UnservedError(
                f'server: GraphQL operation "{title}" ({name}) is not served by fersweep\'s local server '
                f"(client {client}). docs/wandb-operations.md lists what is; the rest needs a server of W&B."
            )


def _resolve(source: Any, info: gql.GraphQLResolveInfo[Any], **arguments: Any) -> Any:
    """Find a field's value: see `fer_sweep.server.nodes`."""
    info.context.spend()
    if isinstance(source, Mapping):
        return source.get(info.field_name)
    name = snake_case(info.field_name)
    owner = source if hasattr(source, name) else source.record
    value = getattr(owner, name)
    if not callable(value):
        return value
    if isinstance(source, Mutations):
        given = _drop_unset(arguments.get("input") or {})
        return value(check_input(info.field_name, given))
    return value(**{snake_case(key): argument for key, argument in arguments.items()})


@lru_cache(maxsize=1024)
def snake_case(name: str) -> str:
    """The name of the method or attribute that answers a field.

    Example:
        >>> snake_case("clientIDMapping")
        'client_id_mapping'
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _drop_unset(value: Any) -> Any:
    """Remove what the client left out: omitted variables inside an input literal are "undefined"."""
    if isinstance(value, Mapping):
        return {key: _drop_unset(item) for key, item in value.items() if item is not Undefined}
    if isinstance(value, list | tuple):
        return [_drop_unset(item) for item in value if item is not Undefined]
    return value


@lru_cache(maxsize=1)
def _schema() -> gql.GraphQLSchema:
    schema = gql.build_schema(
        files("fer_sweep.server").joinpath("schema.graphql").read_text("utf-8")
    )
    anything = schema.type_map["JSON"]
    assert isinstance(anything, gql.GraphQLScalarType)
    document = schema.type_map["JSONString"]
    assert isinstance(document, gql.GraphQLScalarType)
    for reader in (
        "parse_value",
        "coerce_input_value",
    ):  # the name before and since graphql-core 3.3
        setattr(document, reader, _parse_document_argument)
    for kind in schema.type_map.values():
        if isinstance(kind, _WITH_FIELDS) and not kind.name.startswith("__"):
            kind.fields[_NULL_FIELD] = gql.GraphQLField(anything, resolve=lambda *_: None)
    return schema


@lru_cache(maxsize=512)
def _prepare(query: str) -> tuple[gql.DocumentNode, tuple[str, ...]]:
    """Parse a document and make it fit the schema; also returns the fields that became null."""
    document = parse_document(query)
    types = gql.TypeInfo(_schema())
    fitting = _FitToSchema(types)
    return gql.visit(document, gql.TypeInfoVisitor(types, fitting)), tuple(fitting.unknown)


def _parse_document_argument(value: Any) -> str:
    """A JSON document as text, as all that is done with it expects.

    Raises:
        GraphQLError: If it is none.
    """
    text = json.dumps(value) if isinstance(value, dict | list) else value
    if not isinstance(text, str):
        raise gql.GraphQLError(f"expected JSON as text (got {type(value).__name__}).")
    try:
        parse_json(text or "{}", "document")
    except ValueError as error:
        raise gql.GraphQLError(f"not JSON ({error}).") from error
    return text


class _FitToSchema(gql.Visitor):
    """Turns unknown fields into ``key: _unserved`` and unknown types of variables into ``JSON``."""

    def __init__(self, types: gql.TypeInfo) -> None:
        super().__init__()
        self.unknown: list[str] = []
        self._types = types

    def enter_field(self, node: gql.FieldNode, *_: Any) -> gql.FieldNode | None:
        parent, name = self._types.get_parent_type(), node.name.value
        if not isinstance(parent, _WITH_FIELDS) or name in parent.fields or name.startswith("__"):
            return None
        if parent in (_schema().query_type, _schema().mutation_type):
            return None  # refused as a whole, by name
        self.unknown.append(f"{parent.name}.{name}")
        key = node.alias.value if node.alias else name
        return _null_field(key)

    def enter_variable_definition(
        self, node: gql.VariableDefinitionNode, *_: Any
    ) -> gql.VariableDefinitionNode | None:
        if _named_type(node.type) in _schema().type_map:
            return None
        known = gql.parse(
            f"query(${node.variable.name.value}: JSON) {{ {_NULL_FIELD} }}"
        ).definitions[0]
        assert isinstance(known, gql.OperationDefinitionNode)
        return known.variable_definitions[0] if known.variable_definitions else None


def _null_field(key: str) -> gql.FieldNode:
    definition = gql.parse(f"{{ {key}: {_NULL_FIELD} }}").definitions[0]
    assert isinstance(definition, gql.OperationDefinitionNode)
    field = definition.selection_set.selections[0]
    assert isinstance(field, gql.FieldNode)
    return field


def _named_type(node: gql.TypeNode) -> str:
    while isinstance(node, gql.ListTypeNode | gql.NonNullTypeNode):
        node = node.type
    assert isinstance(node, gql.NamedTypeNode)
    return node.name.value
