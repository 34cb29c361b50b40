"""Data sets: find images, decode them, cache them."""
