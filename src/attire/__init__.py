"""attire: product photos in, catalog attributes out, with a confidence a team can act on."""
