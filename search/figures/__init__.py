"""Figures: PNG with matplotlib, SVG for pages."""
