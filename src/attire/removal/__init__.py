"""Remove products from a catalog, and from all that attire made from them."""
