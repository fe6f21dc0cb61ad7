"""The HTTP side: GraphQL, the stream of run data, run files. Every request proves that it knows the key."""

from __future__ import annotations

import contextlib
import errno
import hmac
import html
import json
import logging
import secrets
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from fer_sweep.server import graphql
from fer_sweep.server.access import Access, Caller
from fer_sweep.server.blobs import ROUTE as BLOBS
from fer_sweep.server.blobs import BlobFolder, base64_digest, check_content
from fer_sweep.server.files import ROUTE, RunFolder, partial_path, sign
from fer_sweep.server.guard import Guard
from fer_sweep.server.inputs import check_stream
from fer_sweep.server.limits import Limits, limited, parse_json, read_body
from fer_sweep.server.pages import mount_pages
from fer_sweep.server.projects import find_project
from fer_sweep.server.runs import find_run
from fer_sweep.server.store import Store
from fer_sweep.server.streams import receive
from fer_sweep.server.wire import RequestError

LOG = logging.getLogger(__name__)
_DEFAULT_LIMITS = Limits()
_BLOB_OF_ENTRY = "/artifactsV2/{region}/{entity}/{project}/{collection}/{artifact}/{digest}/{name}"
"""Where clients look for an entry of a manifest whose address they did not ask for."""
_NOT_FOUND = """<!doctype html><html lang="en"><meta charset="utf-8"><title>fersweep</title>
<h1>Nothing here</h1>
<p><code>{path}</code> is not served. This is fersweep's local W&amp;B server: <a href="/">its projects</a>.</p></html>
"""


def create_app(
    store: Store,
    *,
    clock: Callable[[], float] = time.time,
    limits: Limits = _DEFAULT_LIMITS,
    hosts: Collection[str] | None = None,
    public_url: str = "",
) -> Starlette:
    """Build the web application of one database.

    Args:
        store: The open database.
        clock: Tells the time in seconds since the epoch.
        limits: What one request may ask for.
        hosts: Names the server may be called by; None: any.
        public_url: The address that clients reach it at, if a proxy stands before it.
    """
    server = _Server(store, clock, limits, public_url)
    return Starlette(
        routes=[
            Route("/graphql", server.graphql, methods=["POST"]),
            Route(
                "/files/{entity}/{project}/{run}/file_stream", server.file_stream, methods=["POST"]
            ),
            Route(ROUTE + "/{entity}/{project}/{run}/{name:path}", server.upload, methods=["PUT"]),
            Route(
                ROUTE + "/{entity}/{project}/{run}/{name:path}",
                server.download,
                methods=["GET", "HEAD"],
            ),
            Route(BLOBS + "/{entity}/{digest}", server.upload_blob, methods=["PUT"]),
            Route(BLOBS + "/{entity}/{digest}", server.download_blob, methods=["GET", "HEAD"]),
            Route(_BLOB_OF_ENTRY, server.download_blob, methods=["GET", "HEAD"]),
            Route("/healthz", _healthz, methods=["GET"]),
            mount_pages(store, server.access, clock=clock),
        ],
        exception_handlers={404: _not_found, 405: _not_found, RequestError: _refused},
        middleware=[Middleware(Guard, hosts=hosts)],
    )


class _Server:
    def __init__(
        self, store: Store, clock: Callable[[], float], limits: Limits, public_url: str
    ) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._public_url = public_url
        self.access = Access(store, limits)

    async def graphql(self, request: Request) -> Response:
        caller = self.access.check(request)
        body = await self._read_json(request)
        query, variables = body.get("query"), body.get("variables") or {}
        if not isinstance(query, str) or not isinstance(variables, dict):
            raise RequestError(
                "graphql: the body must have a query and may have variables.", status=400
            )
        asked = graphql.Request(
            query=query,
            variables=variables,
            operation=str(body.get("operationName") or ""),
            base_url=self._public_url or str(request.base_url).rstrip("/"),
            client=request.headers.get("user-agent", "unknown"),
            entity=caller.entity,
        )
        answer = await run_in_threadpool(graphql.answer, self._store, asked, clock=self._clock)
        return _json(answer.body, answer.status)

    async def file_stream(self, request: Request) -> Response:
        caller = self.access.check(request)
        body = await self._read_json(request)
        check_stream(body)
        return await run_in_threadpool(self._receive, request.path_params, body, caller)

    def _receive(self, where: dict[str, str], body: dict[str, Any], caller: Caller) -> Response:
        try:
            with self._store.writing(entity=caller.entity) as db:
                project = find_project(db, where["entity"], where["project"])
                run = project and find_run(db, project.id, where["run"])
                if not run:
                    path = "/".join((where["entity"], where["project"], where["run"]))
                    raise RequestError(
                        f"run {path}: no such run. It may have been deleted.", status=404
                    )
                receive(db, run, body, now=self._clock())
        except DBAPIError as error:
            message, status = graphql.explain_database_error(error)
            raise RequestError(message, status=status) from error
        except RequestError:
            raise
        except Exception as error:  # malformed content, or a bug of ours; a 5xx would be repeated
            LOG.exception("file_stream of run %s", where["run"])
            raise RequestError(
                f"file_stream: not what wandb sends ({error!r}).", status=400
            ) from error
        return _json({"stopped": bool(run.stop_requested), "exitcode": None, "limits": {}})

    async def upload(self, request: Request) -> Response:
        return await self._save(request, self._locate(request))

    async def upload_blob(self, request: Request) -> Response:
        path, digest = self._locate_blob(request)
        return await self._save(request, path, digest=digest)

    async def _save(self, request: Request, path: Path, *, digest: str | None = None) -> Response:
        part = partial_path(path, secrets.token_hex(4))
        try:
            self._store.files.mkdir(0o700, parents=True, exist_ok=True)  # nobody else may read it
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as stream:
                async for chunk in limited(
                    request.stream(), self._limits.file_bytes, request.url.path
                ):
                    stream.write(chunk)
            if digest is not None:
                await run_in_threadpool(check_content, part, digest)
            part.replace(path)
        except OSError as error:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)  # wandb tries again after a 503
            raise RequestError(
                f"{path}: cannot be written ({error.strerror}).", status=503 if is_full else 400
            ) from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        return Response()

    async def download(self, request: Request) -> Response:
        path = self._locate(request)
        if not path.is_file():
            raise RequestError(
                f"file {request.path_params['name']!r}: the run has no such file.", status=404
            )
        # Never shown by a browser: a run's file could be a page with scripts in it.
        return FileResponse(path, content_disposition_type="attachment", filename=path.name)

    async def download_blob(self, request: Request) -> Response:
        path, digest = self._locate_blob(request)
        if not path.is_file():
            raise RequestError(f"artifact file {digest}: no such file.", status=404)
        name = request.path_params.get("name", path.name)
        return FileResponse(path, content_disposition_type="attachment", filename=name)

    def _locate_blob(self, request: Request) -> tuple[Path, str]:
        entity, name = request.path_params["entity"], request.path_params["digest"]
        self._check_signature(request, f"{BLOBS}/{entity}/{name}", entity)
        digest = base64_digest(name)
        return BlobFolder(self._store.files, entity).locate(digest), digest

    def _locate(self, request: Request) -> Path:
        where = request.path_params
        path = f"{ROUTE}/{where['entity']}/{where['project']}/{where['run']}/{where['name']}"
        self._check_signature(request, path, where["entity"])
        return RunFolder(self._store.files, where["entity"], where["project"], where["run"]).locate(
            where["name"]
        )

    def _check_signature(self, request: Request, path: str, entity: str) -> None:
        """Let in whoever got this address from us, or has a key that opens the entity."""
        signature = request.query_params.get("signature", "")
        if not hmac.compare_digest(signature.encode(), sign(self._store.api_key, path).encode()):
            caller = self.access.check(request)
            if caller.entity not in (None, entity):
                raise RequestError(
                    f"entity {entity}: this API key opens only {caller.entity}.",
                    status=403,
                )

    async def _read_json(self, request: Request) -> dict[str, Any]:
        where = request.url.path
        encoding = request.headers.get("content-encoding", "")
        raw = await read_body(request.stream(), self._limits, encoding=encoding, where=where)
        try:
            body = parse_json(raw or b"{}", "body")
        except ValueError as error:
            raise RequestError(f"{where}: the body is not JSON ({error}).", status=400) from error
        if not isinstance(body, dict):
            raise RequestError(f"{where}: the body must be a JSON object.", status=400)
        return body


def _json(body: Any, status: int = 200) -> Response:
    """Answer as JSON; unlike Starlette's own class, with NaN and Infinity as wandb writes them."""
    return Response(json.dumps(body), status, media_type="application/json")


async def _refused(_request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, RequestError) else 400
    answer = _json({"error": str(error), "errors": [{"message": str(error)}]}, status)
    if status == 401:
        answer.headers["WWW-Authenticate"] = (
            'Basic realm="fersweep: any user name, the API key as password"'
        )
    elif status in (429, 503):
        answer.headers["Retry-After"] = "1"
    return answer


async def _not_found(request: Request, _error: Exception) -> Response:
    LOG.info("%s %s: not served", request.method, request.url.path)
    return HTMLResponse(_NOT_FOUND.format(path=html.escape(request.url.path)), 404)


async def _healthz(_request: Request) -> Response:
    return _json({"status": "ok"})
