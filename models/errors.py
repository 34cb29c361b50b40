"""The root of the errors that this package raises."""


class ModelError(Exception):
    """A network, training or checkpoint that cannot be used; the message is one line."""
