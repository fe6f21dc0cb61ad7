"""The routes of the pages, at W&B's own paths, and what each request is answered with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import parse_qs, quote

import numpy as np
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from fer_sweep.server.access import Access, Caller
from fer_sweep.server.files import RunFolder
from fer_sweep.server.guard import HEADERS
from fer_sweep.server.pages import project_page, run_page, sweep_page
from fer_sweep.server.pages.histories import Histories
from fer_sweep.server.pages.listing import Query
from fer_sweep.server.pages.render import (
    STATIC,
    render_parts,
    respond,
    respond_json,
    static_files,
)
from fer_sweep.server.pages.session import Sessions, is_local_path
from fer_sweep.server.projects import find_project
from fer_sweep.server.runs import current_state, find_run
from fer_sweep.server.store import Store
from fer_sweep.server.sweeps import find_sweep
from fer_sweep.server.tables import Record
from fer_sweep.server.wire import RequestError

LOG = logging.getLogger(__name__)
_MAX_FORM_BYTES = 4_096
_TOO_MANY = 429
_READ = ["GET", "HEAD"]
_RUN_VIEWS = ("workspace", "overview", "logs", "files", "system", "history")
Answer = Callable[[Request, Caller], Response]


def page_routes(store: Store, access: Access, *, clock: Callable[[], float]) -> list[Route]:
    """The routes; put them last, as the project's own names may be anything.

    Args:
        store: The open database.
        access: Decides who may read.
        clock: Tells the time in seconds since the epoch.
    """
    site = _Site(store, access, clock)
    project, run = "/{entity}/{project}", "/{entity}/{project}/runs/{run}"
    sweep = "/{entity}/{project}/sweeps/{sweep}"
    pages: list[tuple[str, Answer]] = [
        ("/", site.projects),
        ("/{entity}", site.projects),
        ("/{entity}/projects", site.projects),
        (project, site.project),
        (project + "/live.json", site.project_live),
        (project + "/sweeps", site.project),
        (project + "/{view}", site.project),
        (sweep, site.sweep),
        (sweep + "/live.json", site.sweep_live),
        (sweep + "/{view}", site.sweep),
        (run, site.run),
        (run + "/live.json", site.run_live),
        (run + "/files/{name:path}", site.file),
        (run + "/{view}", site.run),
    ]
    return [
        Route(STATIC + "{name}", _static, methods=_READ),
        Route("/login", site.sign_in, methods=[*_READ, "POST"]),
        Route("/authorize", site.sign_in, methods=_READ),  # where wandb sends people for a key
        Route("/logout", site.sign_out, methods=["POST"]),
        *(Route(path, site.page(answer), methods=_READ) for path, answer in pages),
    ]


class _Site:
    def __init__(self, store: Store, access: Access, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._sessions = Sessions(store, access, clock)
        self._histories = Histories()

    def page(self, answer: Answer) -> Callable[[Request], Any]:
        """An endpoint that lets only its readers in, and works off the event loop."""

        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(self._answer, answer, request)

        return endpoint

    def _answer(self, answer: Answer, request: Request) -> Response:
        try:
            caller = self._sessions.find(request)
        except RequestError as error:
            return self._ask_for_key(request, error)
        if any("\0" in str(part) for part in request.path_params.values()):
            return respond("problem.html.j2", status=404, title="Nothing here", text="")
        try:
            with np.errstate(
                all="ignore"
            ):  # people log 1e308 too; what overflows is drawn as missing
                return answer(request, caller)
        except DatabaseError:
            LOG.exception("page %s", request.url.path)
            text = (
                "The database did not answer: it is busy, or its disk is full. Reload in a moment."
            )
            return respond("problem.html.j2", status=503, title="Not now", text=text)
        except (
            RequestError
        ) as error:  # 403 for another entity's pages; a stranger learns no more from 404
            status = error.status if error.status >= 400 else 404
            return respond("problem.html.j2", status=status, title="Nothing here", text=str(error))

    async def sign_in(self, request: Request) -> Response:
        if request.method != "POST":
            return self._ask_for_key(request, None)
        if int(request.headers.get("content-length") or _MAX_FORM_BYTES + 1) > _MAX_FORM_BYTES:
            return respond(
                "problem.html.j2", status=413, title="Too long", text="That is no API key."
            )
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        key, wanted = form.get("key", [""])[0].strip(), form.get("next", ["/"])[0]
        response = RedirectResponse(
            quote(wanted, safe="/?=&%-._~+,:") if is_local_path(wanted) else "/", 303
        )
        try:
            await run_in_threadpool(self._sessions.sign_in, request, key, response)
        except RequestError as error:
            return self._ask_for_key(request, error, wanted=wanted)
        return response

    async def sign_out(self, _request: Request) -> Response:
        response = RedirectResponse("/login", 303)
        self._sessions.sign_out(response)
        return response

    def _ask_for_key(
        self, request: Request, error: RequestError | None, *, wanted: str | None = None
    ) -> Response:
        """The sign-in form, which leads on to where the reader wanted to go."""
        status = error.status if error else 200
        tried = request.method == "POST" or "authorization" in request.headers
        if wanted is None:
            query = f"?{request.url.query}" if request.url.query else ""
            own = request.url.path in ("/login", "/authorize")
            wanted = request.query_params.get("next", "/") if own else request.url.path + query
        return respond(
            "sign_in.html.j2",
            status=status,
            wanted=wanted if is_local_path(wanted) else "/",
            problem=_problem(status) if tried or status == _TOO_MANY else "",
        )

    def projects(self, request: Request, caller: Caller) -> Response:
        entity = request.path_params.get("entity", caller.entity)
        if caller.entity is not None and entity != caller.entity:
            raise _nothing(request)
        with self._store.reading(entity=caller.entity) as db:
            rows = project_page.list_rows(db, entity)
        if not rows and "entity" in request.path_params:
            raise _nothing(request)
        return respond("projects.html.j2", rows=rows, entity=entity, now=self._clock())

    def project(self, request: Request, caller: Caller) -> Response:
        view = request.path_params.get(
            "view", "sweeps" if request.url.path.endswith("/sweeps") else "workspace"
        )
        if view not in (
            "workspace",
            "runs",
            "table",
            "sweeps",
            "overview",
            "reports",
            "jobs",
            "artifacts",
        ):
            raise _nothing(request)
        return respond("project.html.j2", **self._project_content(request, caller), view=view)

    def project_live(self, request: Request, caller: Caller) -> Response:
        return _live(request, self._project_content(request, caller), project_page.PARTS)

    def _project_content(self, request: Request, caller: Caller) -> dict[str, Any]:
        with self._store.reading(entity=caller.entity) as db:
            project = self._project(db, request)
            query = Query.parse(request.query_params)
            content = project_page.project_content(db, project, query, now=self._clock())
        return {**content, "entity": project.entity, "project": project.name}

    def sweep(self, request: Request, caller: Caller) -> Response:
        if request.path_params.get("view", "workspace") not in (
            "workspace",
            "overview",
            "runs",
            "table",
            "controls",
        ):
            raise _nothing(request)
        return respond("sweep.html.j2", **self._sweep_content(request, caller))

    def sweep_live(self, request: Request, caller: Caller) -> Response:
        return _live(request, self._sweep_content(request, caller), sweep_page.PARTS)

    def _sweep_content(self, request: Request, caller: Caller) -> dict[str, Any]:
        with self._store.reading(entity=caller.entity) as db:
            project = self._project(db, request)
            sweep = find_sweep(db, project.id, request.path_params["sweep"])
            if sweep is None:
                raise _nothing(request)
            query = Query.parse(request.query_params)
            content = sweep_page.sweep_content(db, self._histories, sweep, query, now=self._clock())
        return {**content, "entity": project.entity, "project": project.name}

    def run(self, request: Request, caller: Caller) -> Response:
        view = request.path_params.get("view", "workspace")
        if view not in _RUN_VIEWS:
            raise _nothing(request)
        view = "workspace" if view in ("system", "history") else view
        return respond("run.html.j2", **self._run_content(request, caller, view))

    def run_live(self, request: Request, caller: Caller) -> Response:
        have = request.query_params.get("have")
        with self._store.reading(entity=caller.entity) as db:
            run = self._run(db, self._project(db, request), request)
        if have == run_page.version_of(run, current_state(run, now=self._clock())):
            return respond_json({"version": have, "alive": True})
        view = request.query_params.get("view", "workspace")
        content = self._run_content(request, caller, view if view in _RUN_VIEWS else "workspace")
        return _live(request, content, run_page.PARTS)

    def _run_content(self, request: Request, caller: Caller, view: str) -> dict[str, Any]:
        with self._store.reading(entity=caller.entity) as db:
            project = self._project(db, request)
            run = self._run(db, project, request)
            folder = self._folder(project, run)
            content = run_page.run_content(
                db, self._histories, run, folder, view=view, now=self._clock()
            )
        return {**content, "entity": project.entity, "project": project.name}

    def file(self, request: Request, caller: Caller) -> Response:
        with self._store.reading(entity=caller.entity) as db:
            project = self._project(db, request)
            run = self._run(db, project, request)
        path = self._folder(project, run).locate(request.path_params["name"])
        if not path.is_file():
            raise _nothing(request)
        # Never shown: a file could be a page with scripts in it, and would run them as one of ours.
        return FileResponse(
            path,
            filename=path.name,
            content_disposition_type="attachment",
            media_type="application/octet-stream",
            headers={**HEADERS, "Cache-Control": "private, no-store"},
        )

    def _project(self, db: sa.Connection, request: Request) -> Record:
        where = request.path_params
        project = find_project(db, where["entity"], where["project"])
        if project is None:
            raise _nothing(request)
        return project

    def _run(self, db: sa.Connection, project: Record, request: Request) -> Record:
        run = find_run(db, project.id, request.path_params["run"])
        if run is None:
            raise _nothing(request)
        return run

    def _folder(self, project: Record, run: Record) -> RunFolder:
        return RunFolder(self._store.files, project.entity, project.name, run.name)


def _live(request: Request, content: dict[str, Any], parts: Collection[str]) -> Response:
    """What has changed since the version that the reader has; nothing but the version if nothing has."""
    answer = {
        "version": content["version"],
        "alive": content["alive"],
        "soon": bool(content.get("unread")),
    }
    if request.query_params.get("have") != content["version"]:
        answer["parts"] = render_parts(parts, content)
    return respond_json(answer)


async def _static(request: Request) -> Response:
    found = static_files().get(request.path_params["name"])
    if found is None:
        return respond("problem.html.j2", status=404, title="Nothing here", text="")
    headers = {**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}
    return Response(found[0], media_type=found[1], headers=headers)


def _problem(status: int) -> str:
    if status == _TOO_MANY:
        return "Too many wrong keys. Wait a minute, then try again."
    return "This server does not know that key, or it may not be used from this machine."


def _nothing(request: Request) -> RequestError:
    return RequestError(
        f"{request.url.path}: there is no such page. It may have been deleted, or belong to another folder's database.",
        status=404,
    )
