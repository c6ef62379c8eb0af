"""What a change of a taxonomy does to labels, bundles and reviews, before it is done."""
