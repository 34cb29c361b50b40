"""Bad input by the thousand: each case ends well or with an error that has a name and one line.

Part of ``make chaos``; ``tests/unit/test_fuzz.py`` runs a few of each kind.
"""

import tempfile
from pathlib import Path

from benchmarks.fuzz import commands, images, values


def fuzz(number: int) -> int:
    """Fuzz every kind of input, ``number`` examples of most; returns about how many were tried.

    Raises:
        AssertionError: A case ended otherwise. So may any other error, which is a bug, too.
    """
    few = max(number // 4, 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        values.fuzz_settings(number, folder)  # a file, and values
        values.fuzz_specs(number)
        values.fuzz_checkpoints(few, folder)
        values.fuzz_databases(few, folder)  # databases, and names
        images.fuzz_images(number, folder)  # and a quarter as many arrays
        images.fuzz_metadata(number)
        images.fuzz_folders(few, folder)
        commands.fuzz_environment(number, folder)  # and as much as three eighths of it
        commands.fuzz_files(number, folder)  # of two kinds
        commands.fuzz_commands(few, folder / "commands")
    return 8 * number + 7 * few + number // 8
