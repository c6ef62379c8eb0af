"""Prediction: `predictor` answers one product, `bulk` a whole source; both use `logits`."""
