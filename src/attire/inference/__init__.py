"""From photos to answers: `logits` streams photos through an engine, `predictor` answers one product, `bulk` many."""
