"""Verbs for review: the review page, and the export of decisions."""

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
    """Serve a page on which people check and correct predictions. Decisions are stored in CATALOG/review.sqlite.

    `attire review export CATALOG --out DIR` writes a corrected feed.

    Parameters
    ----------
    host
        Address to listen on. Any other than this machine's own needs a token.
    token
        Secret that is part of the link and required for access; by default random if --host needs one. Other users of
        this machine can see it in the list of processes, so prefer the variable or --token-file.
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
    console.print(f"{link}  (press Ctrl-C to stop; decisions are saved at once)", soft_wrap=True)
    serve(review_app(context, host=host, token=secret), host, port)


@review.command
def export(catalog: Path, /, *, out: Path, store: str | None = None) -> None:
    """Write the decisions as a table of changes and as a corrected feed for `attire ingest`.

    Parameters
    ----------
    out
        Directory for changes.csv, feed.csv and taxonomy.toml.
    store
        The --store that the page was started with.
    """
    try:
        from attire.review.export import export as run
        from attire.review.store.events import STORE, Store
    except ImportError:
        raise MissingExtraError("reviewing", "review") from None
    from attire.catalog.store import Catalog

    opened = Catalog.load(catalog)
    if store is None and not (catalog / STORE).is_file():
        raise ConfigError(
            f"{catalog} was not reviewed yet: it has no {STORE}. If the page used another store, name it with --store."
        )
    exported = run(opened, Store(store or catalog / STORE, create=False), out)
    console.print(f"{exported.decided:,} decisions, {exported.changed:,} of them changes")
    for line in (str(exported.diff), exported.command):
        console.print(line, soft_wrap=True, highlight=False)
