"""Training the best trials in full, and delivering a model with its card."""
