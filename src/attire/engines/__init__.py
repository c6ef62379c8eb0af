"""What computes logits from pixels: `engine` is the protocol and torch, `exported` and `runtimes` what export made."""
