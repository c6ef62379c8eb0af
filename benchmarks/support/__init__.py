"""What the measurements share: timing and output, drawn catalogs, servers to ask, attacks and damage."""
