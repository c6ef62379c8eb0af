"""Finds labels that are probably wrong, from answers of networks that have not learned them."""
