"""Explanations: which regions of a photo support an answer, as heat maps (`heatmaps`) and pictures (`picture`)."""
