"""The search: the tuner, its workers, and the commands around them."""
