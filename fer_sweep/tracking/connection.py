"""The wire to a W&B server: GraphQL over HTTP with the retries and messages a user can live with.

W&B's public Python API keeps process-wide state (default entity, a background service, cached runs) and
retries without telling. The two agent mutations and the plain reads need none of that, so they go over
the wire directly; only runs use the real client (``trial_run``).
"""

from __future__ import annotations

import random
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from fer_sweep.errors import TrackingError

REQUEST_TIMEOUT_S = 60.0
"""W&B's own limit for one heartbeat; a busy server may take long to hand out a Bayesian trial."""

READ_PATIENCE_S = 10.0
"""How long reads and small writes keep trying before the user is told."""

_CONNECT_PATIENCE_S = 2.0
"""A user waits at the prompt: one restart hiccup is forgiven, an absent server is not."""

_BACKOFF_S = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)


class SweepGoneError(TrackingError):
    """The sweep was deleted, or the server no longer knows this agent."""


class InterruptedWaitError(TrackingError):
    """The caller's ``pause`` asked to stop waiting for the server."""


@dataclass(frozen=True)
class Connection:
    """A checked way to one project of one server; safe to use from several threads.

    Attributes:
        base_url: The server, without a trailing slash.
        api_key: Never printed.
        entity: User or team that owns the project.
        project: Where sweeps are created and ids without a path are looked up.
    """

    base_url: str
    api_key: str = field(repr=False)
    entity: str
    project: str
    _http: httpx.Client = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        client = _http_client(self.base_url, self.api_key)
        object.__setattr__(self, "_http", client)
        weakref.finalize(self, client.close)

    def execute(
        self,
        query: str,
        variables: Mapping[str, Any],
        *,
        patience_s: float = READ_PATIENCE_S,
        pause: Callable[[float], object] = time.sleep,
    ) -> dict[str, Any]:
        """Run one GraphQL operation, and again while the server is away.

        Args:
            query: The operation, named as in W&B's client.
            variables: Its variables.
            patience_s: Seconds during which a lost connection, 429 and 5xx are retried; 0 tries once.
            pause: Waits between tries; a true result (``threading.Event.wait``) gives up at once.

        Returns:
            The ``data`` of the answer.

        Raises:
            TrackingError: If the server refuses or stays unreachable; one line with URL, cause and fix.
            SweepGoneError: If it answers 404.
            InterruptedWaitError: If ``pause`` returned true.
        """
        answer = self.post(
            "/graphql",
            {"query": query, "variables": dict(variables)},
            patience_s=patience_s,
            pause=pause,
        )
        if answer.get("errors"):
            raise TrackingError(_graphql_message(self.base_url, answer["errors"]))
        data = answer.get("data")
        if not isinstance(data, dict):
            raise TrackingError(_not_wandb(self.base_url, "the answer holds no data"))
        return data

    def post(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        patience_s: float = READ_PATIENCE_S,
        pause: Callable[[float], object] = time.sleep,
    ) -> dict[str, Any]:
        """POST JSON and return the JSON object answered; retries and errors as ``execute``."""
        deadline = time.monotonic() + patience_s
        attempt = 0
        while True:
            try:
                return self._post_once(path, body)
            except _ServerAwayError as error:
                wait_s = _backoff(attempt, error.retry_after_s)
                if time.monotonic() + wait_s > deadline:
                    raise TrackingError(str(error)) from error
            if pause(wait_s):
                raise InterruptedWaitError(f"{self.base_url}: gave up waiting, as asked.")
            attempt += 1

    def _post_once(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            response = self._http.post(self.base_url + path, json=body)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise TrackingError(
                f"{self.base_url}: not a URL ({error}). Set WANDB_BASE_URL to something like "
                "https://api.wandb.ai."
            ) from error
        except httpx.TransportError as error:
            raise _ServerAwayError(_unreachable(self.base_url, error)) from error
        _check_status(self.base_url, response)
        try:
            answer = response.json()
        except ValueError as error:
            raise TrackingError(_not_wandb(self.base_url, "the answer is not JSON")) from error
        if not isinstance(answer, dict):
            raise TrackingError(_not_wandb(self.base_url, "the answer is not a JSON object"))
        return answer


def _http_client(base_url: str, api_key: str) -> httpx.Client:
    try:
        return httpx.Client(
            auth=("api", api_key),
            timeout=REQUEST_TIMEOUT_S,
            trust_env=not is_loopback(base_url),  # no proxy leads back to this machine
        )
    except (ImportError, ValueError) as error:
        raise TrackingError(
            f"{base_url}: the proxy of this environment cannot be used ({error}). "
            "Check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY; NO_PROXY excepts hosts."
        ) from error


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine.

    Example:
        >>> is_loopback("http://127.0.0.1:8642"), is_loopback("https://api.wandb.ai")
        (True, False)
    """
    try:
        return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    except ValueError:  # half an IPv6 address: no URL at all
        return False


def connect(base_url: str, api_key: str, entity: str, project: str) -> Connection:
    """Check that the server is there and takes the key, and fill in the key's default entity.

    Args:
        base_url: ``https://api.wandb.ai``, a self-hosted server, or our own.
        api_key: The key for it.
        entity: User or team; empty takes the key's default.
        project: The W&B project; it need not exist yet.

    Raises:
        TrackingError: If the server cannot be reached, is not a W&B server, or refuses the key.
    """
    connection = Connection(base_url.rstrip("/"), api_key, entity, project)
    query = "query Viewer { viewer { id entity username } }"
    viewer = connection.execute(query, {}, patience_s=_CONNECT_PATIENCE_S).get("viewer")
    if not viewer:
        raise TrackingError(_key_refused(connection.base_url, "no user belongs to it"))
    default = entity or viewer.get("entity") or viewer.get("username") or ""
    if not default:
        raise TrackingError(
            f"{connection.base_url}: this key has no default entity. Give one with --entity or WANDB_ENTITY."
        )
    return Connection(connection.base_url, api_key, default, project)


class _ServerAwayError(Exception):
    """Worth another try: no connection, 429 or 5xx."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


def _backoff(attempt: int, retry_after_s: float | None) -> float:
    """Seconds to wait; jittered so that many agents do not return to a restarted server at once."""
    base = _BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)]
    return max(base * random.uniform(0.75, 1.25), retry_after_s or 0.0)


def _check_status(url: str, response: httpx.Response) -> None:
    code = response.status_code
    if code < 300:
        return
    if code in (401, 403):
        raise TrackingError(_key_refused(url, f"HTTP {code}"))
    if code == 404:
        raise SweepGoneError(
            f"{url}: not found (HTTP 404). The sweep or run was deleted, or WANDB_BASE_URL is not a W&B server."
        )
    if code == 429 or code >= 500:
        raise _ServerAwayError(
            f"{url}: the server keeps failing (HTTP {code}). Try again later; nothing that finished is lost.",
            _retry_after(response),
        )
    try:
        errors = response.json()["errors"]
    except (ValueError, KeyError, TypeError):
        raise TrackingError(_not_wandb(url, f"HTTP {code}")) from None
    raise TrackingError(_graphql_message(url, errors))


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return float(response.headers["retry-after"])
    except (KeyError, ValueError):
        return None


def _unreachable(url: str, error: httpx.TransportError) -> str:
    text = str(error).lower()
    if isinstance(error, httpx.TimeoutException):
        what = f"no answer within {REQUEST_TIMEOUT_S:g} s"
    elif "refused" in text:
        what = "nothing listens there (connection refused)"
    elif "name or service" in text or "name resolution" in text or "nodename" in text:
        what = "no such host"
    else:
        what = str(error) or type(error).__name__
    fix = (
        "Start its server (`fersweep serve`), or check WANDB_BASE_URL."
        if is_loopback(url)
        else "Check the network and WANDB_BASE_URL, or use --local, which needs neither account nor network."
    )
    return f"{url}: cannot be reached: {what}. {fix}"


def _key_refused(url: str, detail: str) -> str:
    return (
        f"{url}: the API key was refused ({detail}). Check WANDB_API_KEY, run `wandb login --relogin "
        f"--host {url}`, or use --local."
    )


def _not_wandb(url: str, detail: str) -> str:
    return f"{url}: this is not a W&B server ({detail}). Check WANDB_BASE_URL."


def _graphql_message(url: str, errors: Any) -> str:
    first = errors[0] if isinstance(errors, list) and errors else errors
    text = first.get("message", first) if isinstance(first, dict) else first
    return f"{url}: the server refused: {text}"
