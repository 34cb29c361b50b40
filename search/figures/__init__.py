"""Arrays to pictures: PNG by matplotlib, SVG for pages."""
