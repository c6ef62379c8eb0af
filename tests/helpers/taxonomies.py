"""Taxonomies for tests."""

from __future__ import annotations

import hypothesis.strategies as st

from attire.taxonomy import Arity, Key, Taxonomy

BLUES = ("Red", "Blue", "Navy Blue", "Light Navy", "Teal")
PARENTS = {"Navy Blue": "Blue", "Light Navy": "Navy Blue", "Teal": "Blue"}


def many_keys(keys: int = 46) -> Taxonomy:
    """One category, and keys of one to seven values, every fifth of arity many."""
    return Taxonomy(
        categories=("A",),
        keys={
            f"k{i}": Key(
                arity="many" if i % 5 == 0 else "one",
                categories=("A",),
                values=tuple(f"v{j}" for j in range(1 + i % 7)),
            )
            for i in range(keys)
        },
    )


def blues(parents: dict[str, str] | None = None, arity: Arity = "one") -> Taxonomy:
    """Shirts with a colour, `BLUES`, and a neck; by default with `PARENTS`."""
    given = PARENTS if parents is None else parents
    colour = Key(arity=arity, categories=("Shirts",), values=BLUES, parents=given)
    neck = Key(categories=("Shirts",), values=("Round", "V"))
    return Taxonomy(categories=("Shirts", "Hats"), keys={"neck": neck, "colour": colour})


@st.composite
def parents_of(draw: st.DrawFn, values: tuple[str, ...]) -> dict[str, str]:
    """Parents of some of the values, without a cycle: of two values, the later one in some order is the child."""
    order = draw(st.permutations(values))
    places = [draw(st.integers(-1, place - 1)) for place in range(len(order))]
    return {order[place]: order[parent] for place, parent in enumerate(places) if parent >= 0}
