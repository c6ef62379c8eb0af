"""`attire learn`: applies the decisions of reviewers, trains a bundle's heads again, and compares old and new."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from attire.bundle import ModelBundle
from attire.catalog.content import FIELD
from attire.catalog.review_version import reviewed_in
from attire.catalog.splits import Splits, split
from attire.catalog.store import Catalog
from attire.errors import AttireError, CatalogError, ConfigError
from attire.evaluation.compare import Difference, better, compare
from attire.evaluation.evaluate import evaluate
from attire.files import locked, temporary_folder
from attire.inference.bulk import predict
from attire.inference.embedded import EmbeddedEngine
from attire.learning.status import Reporter
from attire.review.learn_status import LOCK, Change, Outcome
from attire.score.promise import PRECISION, Promise
from attire.storage import storing
from attire.training.retrain import retrain

STORE = "review.sqlite"  # of the review page, in the catalog
BUNDLE, PREDICTIONS, BEFORE, AFTER = "bundle", "predictions.parquet", "before", "after"
WAIT_S = 2.0  # for the lock, which a page holds for an instant when it looks whether a run works
SIDES = {"A": "before", "B": "after", "": ""}


def learn(
    catalog: Catalog | str | Path,
    bundle: ModelBundle | str | Path,
    out: str | Path,
    *,
    store: str | Path | None = None,
    precision: Promise | float = PRECISION,
    workers: int | None = None,
) -> Outcome:
    """Learn what reviewers decided: write `out`/bundle, its predictions, and both bundles' scores.

    The decisions of the review store become a version of the catalog (`apply_reviews`), if there are any, and its
    products keep their split; new ones are dealt. The heads of `bundle` are trained again on the labels of train
    (`attire.training.retrain`), never on products of the random sample, and both bundles are scored on the products of
    val that neither has learned from: `out`/before and `out`/after, for `compare`. `out`/predictions.parquet is what
    `predict` says of the catalog in the long format, filled for `precision`. All photos are looked up in the catalog's
    cache of embeddings; those that it lacks are embedded first.

    `store` is a file or URL, by default that of the review page if there is one. `out` must not exist; it appears when
    everything in it is finished, and `bundle` stays as it is. One run at a time works on a catalog. Raises
    `ConfigError` if another one does, for a bundle whose heads cannot be trained alone, and as `train` does,
    `CatalogError` and `ReviewStoreError` as `apply_reviews` does.
    """
    began = time.monotonic()
    path = catalog.path if isinstance(catalog, Catalog) else Path(catalog)
    bundle, out, promise = ModelBundle.of(bundle), Path(out), Promise.of(precision)
    if out.exists() or out.is_symlink():
        raise ConfigError(f"{out} exists already. Choose another --out; {bundle.path} stays as it is.")
    if not path.is_dir():
        raise CatalogError(f"{path} does not exist: expected a catalog that attire ingest made.")
    busy = f"another attire learn is working on {path}: wait until it is done."
    with storing(path), locked(path / LOCK, ConfigError(busy), wait_s=WAIT_S), _told(path, bundle) as reporter:
        out.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(out.parent, f".{out.name}-") as folder:
            made = folder / out.name
            made.mkdir()
            outcome = _learn(path, bundle, made, out, store, promise, workers, reporter, began)
            made.replace(out)
        reporter.finish(outcome)
    return outcome


def _learn(
    path: Path,
    bundle: ModelBundle,
    made: Path,
    out: Path,
    store: str | Path | None,
    promise: Promise,
    workers: int | None,
    reporter: Reporter,
    began: float,
) -> Outcome:
    """Write everything into the folder `made`, which will be `out`."""
    reporter.step("reading the catalog and the decisions")
    version, catalog = _apply(path, store)
    splits = _split(catalog)
    counts = _count_decisions(catalog, bundle, splits)
    reporter.step("training the heads")
    learned = retrain(bundle, catalog, splits, made, workers=workers)
    _tidy(made)
    engine = EmbeddedEngine(learned, catalog)
    for name, side, answers in ((BEFORE, bundle, EmbeddedEngine(bundle, catalog)), (AFTER, learned, engine)):
        reporter.step(f"scoring the bundle {name}")
        evaluate(side, catalog, engine=answers, precision=promise, out=made / name, brief=True)
    reporter.step("comparing both")
    comparison = compare(made / BEFORE, made / AFTER)
    reporter.step("predicting the catalog")
    predict(learned, path, made / PREDICTIONS, format="long", precision=promise, engine=engine)
    return Outcome(
        bundle=str(out / BUNDLE),
        digest=learned.digest,
        predictions=str(out / PREDICTIONS),
        version=version,
        **counts,
        seconds=time.monotonic() - began,
        products=comparison.products,
        figures=tuple(_changes(comparison.figures, {})),
        keys=tuple(change for change in _changes(comparison.keys, comparison.known) if change.better),
    )


def _tidy(run: Path) -> None:
    """Remove what only an unfinished run needs; the networks of the folds stay, for the next time."""
    for name in ("checkpoints", "logs"):
        for folder in run.rglob(name):
            shutil.rmtree(folder)
    shutil.rmtree(run / "attributes", ignore_errors=True)  # the bundle has its network


@contextmanager
def _told(path: Path, bundle: ModelBundle) -> Iterator[Reporter]:
    """Report about the run until the block ends, also if that is by an error."""
    reporter = Reporter(path, datetime.now(UTC), bundle.digest)
    try:
        with reporter:
            yield reporter
    except (AttireError, KeyboardInterrupt, MemoryError) as error:
        reporter.fail(str(error) or "it was interrupted")
        raise


def _apply(path: Path, store: str | Path | None) -> tuple[int | None, Catalog]:
    """Write the decisions into the catalog; the number of the new version, None if there is nothing new."""
    if store is None and not (path / STORE).is_file():
        return None, Catalog.load(path)
    from attire.review.apply import apply_reviews  # needs an extra, which a catalog that was never reviewed does not

    applied = apply_reviews(path, store)
    return applied.version, applied.catalog


def _split(catalog: Catalog) -> Splits:
    """The catalog's splits, dealt again if it has changed since, so that each product keeps its split."""
    try:
        return Splits.load(catalog)
    except CatalogError:
        return split(catalog)


def _count_decisions(catalog: Catalog, bundle: ModelBundle, splits: Splits) -> dict[str, int]:
    """How many decisions in the catalog are newer than what `bundle` learned from, by what becomes of them."""
    earlier = reviewed_in(catalog.path, bundle.provenance.get("catalog"))
    new = catalog.reviewed.join(earlier, on=[*FIELD, "at"], how="anti")["id"]
    train, sampled = new.is_in(list(splits.train)), new.is_in(list(catalog.audited))
    return {
        "learned": int((train & ~sampled).sum()),
        "checks": int((~train & ~sampled).sum()),
        "sampled": int(sampled.sum()),
    }


def _changes(differences: dict[str, Difference], known: dict[str, int]) -> Iterator[Change]:
    for name, difference in differences.items():
        yield Change(
            name=name,
            before=difference.a,
            after=difference.b,
            low=difference.low,
            high=difference.high,
            better=SIDES[better(name, difference)],
            labels=known.get(name, 0),
        )
