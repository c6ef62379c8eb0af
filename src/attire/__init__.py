"""attire: product photos in, catalog attributes out, with a confidence a team can act on.

    import attire

    catalog = attire.ingest("feed.csv", images="photos/", out="catalog/")
    splits = attire.split(catalog, val=0.25, seed=7)
    bundle = attire.train(catalog, splits, out="runs/a")
    report = attire.evaluate(bundle, catalog, splits.val)
    predict = attire.Predictor(bundle)
    shirt = predict(["front.jpg", "back.jpg"])
    shirt.category, shirt["sleeve_length"]
    attire.predict(bundle, catalog, out="predictions.csv")
    attire.fill(bundle, "feed.csv", out="filled.csv", images="photos/")

Names are imported when they are first used, so that `import attire` does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attire.acquisition.suggest import Suggestions, suggest
    from attire.auditing.audit import audit
    from attire.bundle import ModelBundle
    from attire.catalog.ingest import ingest
    from attire.catalog.splits import Splits, split
    from attire.catalog.store import Catalog
    from attire.catalog.taxonomy_check import check_taxonomy
    from attire.config import Recipe, load_recipe
    from attire.engines.engine import open_engine
    from attire.errors import AttireError
    from attire.evaluation.compare import compare
    from attire.evaluation.drift import drift
    from attire.evaluation.evaluate import evaluate
    from attire.evaluation.report import Report
    from attire.evaluation.trend import trend
    from attire.explanation.explain import Explanation, explain
    from attire.exporting.export import export
    from attire.filling.fill import fill
    from attire.hub import pull, push
    from attire.inference.bulk import predict
    from attire.inference.predictor import Predictor
    from attire.learning.learn import learn
    from attire.learning_curve.curve import LearningCurve, curve
    from attire.model.backbone_table import backbones
    from attire.pixels.photo_cache import cache_photos
    from attire.prediction import Abstained, Answer, Prediction
    from attire.promotion.promote import promote, rollback
    from attire.removal.remove import remove
    from attire.review.apply import apply_reviews
    from attire.score.promise import Promise
    from attire.taxonomy import Taxonomy
    from attire.taxonomy_diff.diff import diff_taxonomy
    from attire.training.blend import blend
    from attire.training.run import train
    from attire.twins.duplicates import duplicates

_HOMES = {
    "Abstained": "attire.prediction",
    "Answer": "attire.prediction",
    "AttireError": "attire.errors",
    "Catalog": "attire.catalog.store",
    "Explanation": "attire.explanation.explain",
    "LearningCurve": "attire.learning_curve.curve",
    "ModelBundle": "attire.bundle",
    "Prediction": "attire.prediction",
    "Predictor": "attire.inference.predictor",
    "Promise": "attire.score.promise",
    "Recipe": "attire.config",
    "Report": "attire.evaluation.report",
    "Splits": "attire.catalog.splits",
    "Suggestions": "attire.acquisition.suggest",
    "Taxonomy": "attire.taxonomy",
    "apply_reviews": "attire.review.apply",
    "audit": "attire.auditing.audit",
    "backbones": "attire.model.backbone_table",
    "blend": "attire.training.blend",
    "cache_photos": "attire.pixels.photo_cache",
    "check_taxonomy": "attire.catalog.taxonomy_check",
    "compare": "attire.evaluation.compare",
    "curve": "attire.learning_curve.curve",
    "diff_taxonomy": "attire.taxonomy_diff.diff",
    "drift": "attire.evaluation.drift",
    "duplicates": "attire.twins.duplicates",
    "evaluate": "attire.evaluation.evaluate",
    "explain": "attire.explanation.explain",
    "export": "attire.exporting.export",
    "fill": "attire.filling.fill",
    "ingest": "attire.catalog.ingest",
    "learn": "attire.learning.learn",
    "load_recipe": "attire.config",
    "open_engine": "attire.engines.engine",
    "predict": "attire.inference.bulk",
    "promote": "attire.promotion.promote",
    "pull": "attire.hub",
    "push": "attire.hub",
    "remove": "attire.removal.remove",
    "rollback": "attire.promotion.promote",
    "split": "attire.catalog.splits",
    "suggest": "attire.acquisition.suggest",
    "train": "attire.training.run",
    "trend": "attire.evaluation.trend",
}

__all__ = [
    "Abstained",
    "Answer",
    "AttireError",
    "Catalog",
    "Explanation",
    "LearningCurve",
    "ModelBundle",
    "Prediction",
    "Predictor",
    "Promise",
    "Recipe",
    "Report",
    "Splits",
    "Suggestions",
    "Taxonomy",
    "apply_reviews",
    "audit",
    "backbones",
    "blend",
    "cache_photos",
    "check_taxonomy",
    "compare",
    "curve",
    "diff_taxonomy",
    "drift",
    "duplicates",
    "evaluate",
    "explain",
    "export",
    "fill",
    "ingest",
    "learn",
    "load_recipe",
    "open_engine",
    "predict",
    "promote",
    "pull",
    "push",
    "remove",
    "rollback",
    "split",
    "suggest",
    "train",
    "trend",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'attire' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
