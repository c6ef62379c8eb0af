"""Export a bundle's network as an engine for a faster runtime, kept only if its answers agree with torch."""
