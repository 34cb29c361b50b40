"""The error that this package raises."""


class StorageError(Exception):
    """A database or a file that cannot be used; the message is one line, without passwords."""
