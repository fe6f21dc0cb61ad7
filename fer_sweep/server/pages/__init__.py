"""The pages behind the links that wandb prints: projects, sweeps and runs, at W&B's own paths.

``site.py`` routes, ``session.py`` lets a browser in, ``run_page.py``, ``sweep_page.py`` and ``project_page.py`` gather what a
page shows, ``templates/`` show it. Every page is complete without JavaScript; ``static/pages.js`` only refreshes its live parts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from starlette.concurrency import run_in_threadpool
from starlette.routing import Mount, Router
from starlette.types import Receive, Scope, Send

from fer_sweep.server.access import Access
from fer_sweep.server.store import Store


def mount_pages(store: Store, access: Access, *, clock: Callable[[], float]) -> Mount:
    """Everything that no other route answers; put it last.

    Most servers live inside a command and never show a page, so what draws them is loaded when the first one is asked for.

    Args:
        store: The open database.
        access: Decides who may read.
        clock: Tells the time in seconds since the epoch.
    """

    @cache
    def load() -> Router:
        from fer_sweep.server.pages.site import page_routes  # noqa: PLC0415 - numpy and jinja2: 0.2 s

        return Router(page_routes(store, access, clock=clock))

    async def pages(scope: Scope, receive: Receive, send: Send) -> None:
        router = await run_in_threadpool(load)
        await router(scope, receive, send)

    return Mount("", app=pages)
