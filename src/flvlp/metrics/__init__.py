"""Figures over a whole set, gathered and in the order of the source: exact for any batch size and world size."""
