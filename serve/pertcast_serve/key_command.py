"""The command `pertcast key`: makes, lists and revokes the keys of a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from pertcast.errors import UnknownName
from pertcast_data.errors import nearest_known, nearest_sentence

from pertcast_serve.access.caller import SCOPES, Scope
from pertcast_serve.access.keys import Key, change_keys, new_key, read_keys

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Make, list and revoke the keys of a server.",
)

KeysOption = Annotated[Path, typer.Option("--keys", help="File of keys, as in the server's settings.")]


class UnknownKey(UnknownName):
    """An id that no key of the file has."""

    kind = "key"


def _scopes(words: list[str]) -> list[Scope]:
    scopes: list[Scope] = [scope for scope in SCOPES if scope in words]
    for word in words:
        if word not in SCOPES:
            hint = nearest_sentence(nearest_known(word, SCOPES)) or f" There are {', '.join(SCOPES)}."
            raise typer.BadParameter(f"{word!r} is not known.{hint}", param_hint="--scope")
    return scopes


@app.command()
def create(
    keys: KeysOption,
    name: Annotated[str, typer.Option(help="Whom the key is for, up to 100 characters; logs name it.")],
    scope: Annotated[list[str], typer.Option(help="predict, screen or admin; give it again for more.")],
    days: Annotated[int | None, typer.Option(min=1, max=36_500, help="Days until it expires.")] = None,
) -> None:
    """Make a key and print it once: the file holds only its hash.

    Example: pertcast key create --keys keys.json --name Ada --scope predict --scope screen
    """
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise typer.BadParameter("a name has 1 to 100 printable characters", param_hint="--name")
    now = datetime.now(UTC)
    expires = None if days is None else now + timedelta(days=days)
    text, key = new_key(name, _scopes(scope), expires, now)
    change_keys(keys, lambda before: (*before, key), may_create=True)
    typer.echo(text)
    typer.echo("This is the only time the key is shown.", err=True)


@app.command("list")
def list_keys(keys: KeysOption) -> None:
    """List the keys of a file: id, state, scopes, day of creation, day of expiry, name.

    Example: pertcast key list --keys keys.json
    """
    now = datetime.now(UTC)
    for key in read_keys(keys):
        expires = "never" if key.expires is None else f"{key.expires:%Y-%m-%d}"
        scopes = ",".join(key.scopes)
        typer.echo(
            f"{key.id}  {key.state(now):8}  {scopes:20}  {key.created:%Y-%m-%d}  {expires:10}  {key.name}"
        )


@app.command()
def revoke(
    identity: Annotated[str, typer.Argument(metavar="ID", help="Id of the key, as `list` prints it.")],
    keys: KeysOption,
) -> None:
    """Revoke a key: running servers refuse it within two seconds.

    Example: pertcast key revoke 0123456789ab --keys keys.json
    """

    def revoked(before: tuple[Key, ...]) -> tuple[Key, ...]:
        if identity not in (key.id for key in before):
            raise UnknownKey(identity, (key.id for key in before), str(keys))
        now = datetime.now(UTC)
        return tuple(
            key.model_copy(update={"revoked": key.revoked or now}) if key.id == identity else key
            for key in before
        )

    change_keys(keys, revoked)
    typer.echo(f"revoked {identity}")
