"""The network: backbone, heads and losses. `network` joins `backbone` and `heads`; training minimises `losses`."""
