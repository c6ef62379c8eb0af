"""The database of the review page: decisions as append-only events, and leases on products."""
