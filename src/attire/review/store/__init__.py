"""Decisions on disk: append-only events, and who looks at which product."""
