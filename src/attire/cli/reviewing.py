"""Verbs for review: the review page, and what becomes of the decisions."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from attire.cli.app import app, console, facts
from attire.errors import MissingExtraError
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

    `attire review apply CATALOG` writes them into the catalog, `attire review export CATALOG --out DIR` into a feed.

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
        from attire.review.decisions import open_store
        from attire.review.export import export as run
    except ImportError:
        raise MissingExtraError("reviewing", "review") from None
    from attire.catalog.store import Catalog

    exported = run(Catalog.load(catalog), open_store(catalog, store), out)
    console.print(f"{exported.decided:,} decisions, {exported.changed:,} of them changes")
    for line in (str(exported.diff), exported.command):
        console.print(line, soft_wrap=True, highlight=False)


@review.command
def apply(catalog: Path, /, *, store: str | None = None) -> None:
    """Write the decisions into the catalog, as a version; run it again for later decisions.

    They outrank what later feeds state. Products with a judged field of the random sample are not trained on.

    Parameters
    ----------
    store
        The --store that the page was started with.
    """
    try:
        from attire.review.apply import apply_reviews
    except ImportError:
        raise MissingExtraError("reviewing", "review") from None
    applied = apply_reviews(catalog, store)
    counts = {"decisions": f"{applied.decided:,}"}
    if applied.gone:
        counts["of products that are gone"] = f"{applied.gone:,}"
    if applied.waiting:
        counts["waiting for words"] = f"{applied.waiting:,} (add the words to {catalog / 'taxonomy.toml'})"
    if applied.audited:
        counts["never trained on"] = f"{applied.audited:,} products of the random sample and their groups"
    if applied.version is not None:
        counts |= {
            "new, other or undone": f"{applied.fields:,} fields",
            "changed products": f"{len(applied.changes.changed):,}",
            "version": f"{applied.version}",
        }
    console.print(facts(counts))
    if applied.version is None:
        console.print(f"Nothing new: {catalog} has all decisions.")
    else:
        console.print(f"{catalog} has changed: run attire split {catalog} before you train.", soft_wrap=True)
