"""What is known of a key's values before a photo is seen: how frequent each of them is within each category."""

from __future__ import annotations

import torch
from torch import Tensor

from attire.labels import Targets
from attire.taxonomy import Taxonomy

BORROWED = 5.0  # products' worth of the values' overall frequency, added to what a category's own products say


def log_prior(taxonomy: Taxonomy, targets: Targets) -> Tensor:
    """float32[C, K]: the logit of each value within each category, from the labels in `targets`.

    For a key of arity one the logarithm of the value's share, for one of arity many its log odds. A category with few
    labels is drawn towards all of them together, and these towards an even share (additive smoothing).
    """
    categories, known = len(taxonomy.categories), targets.category >= 0
    of_category = torch.nn.functional.one_hot(targets.category[known], categories).double()
    key = torch.from_numpy(taxonomy.key_of_column)
    columns = torch.zeros(len(taxonomy.keys), dtype=torch.float64).index_add_(0, key, torch.ones(len(key)).double())
    stated = targets.hot[known].double()
    labelled = torch.zeros(len(stated), len(taxonomy.keys)).double().index_add_(1, key, stated).clamp(max=1)
    overall = (stated.sum(0) + 1) / (labelled.sum(0) + columns)[key]
    share = (of_category.T @ stated + BORROWED * overall) / ((of_category.T @ labelled)[:, key] + BORROWED)
    one = torch.from_numpy(taxonomy.one)[key]
    return torch.where(one, share.log(), share.clamp(max=1 - 1e-4).logit()).float()
