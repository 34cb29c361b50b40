"""Search spaces: parameters, their specs, the unit cube, and every suggest call."""
