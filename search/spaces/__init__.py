"""Search spaces: parameters, the specs they stand for, and the unit cube; every suggest call."""
