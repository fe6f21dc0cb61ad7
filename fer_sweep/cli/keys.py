"""``fersweep keys``: who may use a server that other machines can reach."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fer_sweep.cli.options import Db, Home, Json

if TYPE_CHECKING:
    from fer_sweep.server.keys import ApiKey
    from fer_sweep.server.store import Store

EXAMPLES = """\b
Example:
  fersweep keys create --entity alice --name laptop
  fersweep serve --host 0.0.0.0
  fersweep keys revoke laptop"""

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make, list and revoke the API keys that other machines need. Each opens one entity.",
    epilog=EXAMPLES,
)


@app.command()
def create(
    entity: Annotated[
        str, typer.Option("--entity", "-e", help="The only entity the key can read and write.")
    ] = "local",
    name: Annotated[
        str, typer.Option(help="What to call the key: whose it is, or which machine's.")
    ] = "",
    home: Home = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it. It is stored hashed: nobody can look it up again."""
    from fer_sweep.server.keys import create_key

    with _store(home, db) as store:
        record, key = create_key(store, entity, name or entity, now=time.time())
    if as_json:
        print(json.dumps(_as_json(record) | {"key": key}))
        return
    print(key)
    typer.echo(
        f"Key {record.id} ({record.name}) opens entity {record.entity}. It is shown only now. "
        f"Its owner sets WANDB_API_KEY to it, and WANDB_BASE_URL to the server.",
        err=True,
    )


@app.command("list")
def list_(home: Home = None, db: Db = None, as_json: Json = False) -> None:
    """List the keys, without the keys themselves."""
    from fer_sweep.server.keys import list_keys

    with _store(home, db) as store:
        records = list_keys(store)
    if as_json:
        print(json.dumps([_as_json(record) for record in records]))
        return
    if not records:
        typer.echo(
            "No keys. Other machines need one: fersweep keys create --entity NAME.", err=True
        )
    for record in records:
        state = "revoked" if record.revoked_at is not None else "works"
        print(f"{record.id:4}  {record.entity:16} {record.name:24} {_day(record)}  {state}")


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's number or name.")],
    home: Home = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Make a key stop working at once; what was logged with it stays."""
    from fer_sweep.server.keys import revoke_key

    with _store(home, db) as store:
        record = revoke_key(store, key, now=time.time())
    if as_json:
        print(json.dumps(_as_json(record)))
        return
    print(f"Key {record.id} ({record.entity}, {record.name}) no longer works.")


@contextmanager
def _store(home: Any, db: str | None) -> Iterator[Store]:
    from fer_sweep.server.store import Store
    from fer_sweep.settings import load_settings

    store = Store(db or load_settings(local=True, home=home).database)
    try:
        yield store
    finally:
        store.close()


def _as_json(record: ApiKey) -> dict[str, Any]:
    return {
        "id": record.id,
        "entity": record.entity,
        "name": record.name,
        "created_at": record.created_at,
        "revoked_at": record.revoked_at,
    }


def _day(record: ApiKey) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(record.created_at))
