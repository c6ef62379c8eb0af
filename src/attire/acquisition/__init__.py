"""Which fields to label next (active learning)."""
