"""How large a GraphQL document may be, and how much work answering it may make.

wandb's largest documents have about 1,500 tokens, 15 levels and 150 fields. A fragment that spreads
another one twice doubles the work with every line, one that spreads itself never ends, and a parser
that calls itself runs out of stack: all of that is refused before anything is looked up.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import graphql as gql

from fer_sweep.server.wire import RequestError

MAX_CHARACTERS = 100_000
MAX_TOKENS = 10_000
MAX_NESTING = 50
MAX_DEFINITIONS = 100
MAX_DEPTH = 40
MAX_FIELDS = 5_000
MAX_RESOLVED = 2_000_000
"""Fields looked up for one request: 1,000 runs with all their fields need 50,000."""
MAX_SECONDS = 60.0
_BAD = 400
_LEXEME = re.compile(
    r'"""(?:\\"""|.)*?(?:"""|\Z)|"(?:\\.|[^"\\\n])*"?|#[^\n]*|[{}\[\]()]', re.DOTALL
)


class OverBudgetError(BaseException):
    """Ends a request that does too much; no ``Exception``, so that GraphQL cannot go on field by field."""


class Budget:
    """Counts the fields of one request, and its time."""

    def __init__(self, *, fields: int = MAX_RESOLVED, seconds: float = MAX_SECONDS) -> None:
        self._left = fields
        self._deadline = time.monotonic() + seconds

    def spend(self) -> None:
        """Count one field.

        Raises:
            OverBudgetError: If it is one too many, or too late.
        """
        self._left -= 1
        if self._left < 0 or (not self._left % 64 and time.monotonic() > self._deadline):
            raise OverBudgetError(
                "graphql: this request asks for too much at once. Ask for fewer runs per page (per_page)."
            )


def parse_document(query: str) -> gql.DocumentNode:
    """Parse a document of reasonable size.

    Raises:
        RequestError: If it is too long, too deep, or would become so once its fragments are put in.
        graphql.GraphQLSyntaxError: If it is not GraphQL.
    """
    if len(query) > MAX_CHARACTERS:
        raise _too_much(f"{len(query)} characters", MAX_CHARACTERS)
    _check_nesting(query)
    document = gql.parse(query, no_location=True, max_tokens=MAX_TOKENS)
    if len(document.definitions) > MAX_DEFINITIONS:
        raise _too_much(f"{len(document.definitions)} definitions", MAX_DEFINITIONS)
    _Measure(document).check()
    return document


def _check_nesting(query: str) -> None:
    depth = 0
    for match in _LEXEME.finditer(query):
        depth += {"{": 1, "[": 1, "(": 1, "}": -1, "]": -1, ")": -1}.get(match[0], 0)
        if depth > MAX_NESTING:
            raise _too_much("brackets nested deeper", MAX_NESTING)


class _Measure:
    """The number of fields of a document and their depth, with every fragment put in its place."""

    def __init__(self, document: gql.DocumentNode) -> None:
        self._document = document
        self._fragments: Mapping[str, gql.FragmentDefinitionNode] = {
            node.name.value: node
            for node in document.definitions
            if isinstance(node, gql.FragmentDefinitionNode)
        }
        self._known: dict[str, tuple[int, int]] = {}
        self._open: list[str] = []

    def check(self) -> None:
        for node in self._document.definitions:
            if isinstance(node, gql.OperationDefinitionNode | gql.FragmentDefinitionNode):
                fields, depth = self._measure(node.selection_set)
                if fields > MAX_FIELDS:
                    raise _too_much(f"{fields} fields", MAX_FIELDS)
                if depth > MAX_DEPTH:
                    raise _too_much(f"{depth} levels", MAX_DEPTH)

    def _measure(self, selected: gql.SelectionSetNode | None) -> tuple[int, int]:
        fields, depth = 0, 0
        for node in selected.selections if selected else ():
            if isinstance(node, gql.FragmentSpreadNode):
                inner = self._measure_fragment(node.name.value)
            elif isinstance(node, gql.FieldNode):
                below = self._measure(node.selection_set)
                inner = (below[0] + 1, below[1] + 1)
            else:
                assert isinstance(node, gql.InlineFragmentNode)
                inner = self._measure(node.selection_set)
            fields, depth = fields + inner[0], max(depth, inner[1])
        return fields, depth

    def _measure_fragment(self, name: str) -> tuple[int, int]:
        if name in self._open:
            raise RequestError(f"graphql: fragment {name} contains itself.", status=_BAD)
        if name not in self._fragments:
            raise RequestError(f"graphql: there is no fragment {name}.", status=_BAD)
        if name not in self._known:
            self._open.append(name)
            self._known[name] = self._measure(self._fragments[name].selection_set)
            self._open.pop()
        return self._known[name]


def _too_much(what: str, most: int) -> RequestError:
    return RequestError(
        f"graphql: the document has {what}; at most {most} are served.", status=_BAD
    )
