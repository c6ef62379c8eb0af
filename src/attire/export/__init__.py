"""A bundle's network as an engine of a faster runtime, kept only where its answers are those of torch."""
