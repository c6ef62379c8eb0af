"""The labelled photos of a catalog that are most like a photo, as a bundle sees them."""
