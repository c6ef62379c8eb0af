"""Photos to answers: `logits` streams photos through an engine, `predictor` asks for one product, `bulk` for many."""
