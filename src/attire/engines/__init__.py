"""Engines compute logits from pixels: `engine` has the protocol and torch, `runtimes` the exported ones."""
