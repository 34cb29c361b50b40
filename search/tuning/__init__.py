"""Run a search: tuner, session and audit. Only this package writes to a study."""
