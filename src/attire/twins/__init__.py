"""Products of a catalog that look like duplicates of each other, as a table and a page."""
