"""People at work on predictions, and what comes of it."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from attire.cli.app import app, console, facts
from attire.errors import ConfigError, MissingExtraError
from attire.hosts import is_local
from attire.review.options import Options

review = App(name="review", help="Check and correct predictions in a browser, as a team.")
app.command(review)


@review.default
def page(
    catalog: Path,
    /,
    *,
    options: Annotated[Options, Parameter(name="*")],
    host: str = "127.0.0.1",
    port: int = 8100,
    token: Annotated[str, Parameter(env_var="ATTIRE_REVIEW_TOKEN", show_default=False)] = "",
    token_file: Path | None = None,
) -> None:
    """Open a page on which people check and correct predictions. Decisions are kept in CATALOG/review.sqlite.

    `attire review export CATALOG --out DIR` writes them as a feed.

    Parameters
    ----------
    host
        Address to answer on. Any other than this machine's own needs a token.
    token
        What a browser needs to be let in, as part of the link; drawn at random for other hosts where none is given.
        Whoever can list the processes of this machine sees it in the command: better set the variable, or a file.
    token_file
        File with the token in its first line.
    """
    try:
        from attire.review.app import open_review, review_app, serve
        from attire.review.security import read_token
    except ImportError:
        raise MissingExtraError("reviewing", "review") from None
    secret = read_token(token, token_file) or ("" if is_local(host) else secrets.token_urlsafe(24))
    context = open_review(catalog, options)
    console.print(facts({"products": f"{len(context.data.products):,}", "fields": f"{len(context.data.fields):,}"}))
    link = f"http://{f'[{host}]' if ':' in host else host}:{port}/{f'?token={secret}' if secret else ''}"
    console.print(f"{link}  (Ctrl-C ends it; every decision is saved when it is made)", soft_wrap=True)
    serve(review_app(context, host=host, token=secret), host, port)


@review.command
def export(catalog: Path, /, *, out: Path, store: str | None = None) -> None:
    """Write what was decided: the changes as a table, and a feed with them that `attire ingest` reads.

    Parameters
    ----------
    out
        Directory for changes.csv, feed.csv and taxonomy.toml.
    store
        The file or URL that the page was started with.
    """
    try:
        from attire.review.app import STORE
        from attire.review.export import export as run
        from attire.review.store.events import Store
    except ImportError:
        raise MissingExtraError("reviewing", "review") from None
    from attire.catalog.store import Catalog

    opened = Catalog.load(catalog)
    if store is None and not (catalog / STORE).is_file():
        raise ConfigError(
            f"{catalog} was not reviewed yet: it has no {STORE}. Name the store of its page with --store."
        )
    made = run(opened, Store(store or catalog / STORE, create=False), out)
    console.print(f"{made.decided:,} decisions, {made.changed:,} of them changes")
    for line in (str(made.diff), made.command):
        console.print(line, soft_wrap=True, highlight=False)
