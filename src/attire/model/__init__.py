"""Backbone, heads and losses: `backbone` -> `heads` -> `network`; `losses` says what training minimises."""
