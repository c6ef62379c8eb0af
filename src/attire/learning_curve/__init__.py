"""How many labels it takes: figures of each key over the number of its labels, and beyond."""
