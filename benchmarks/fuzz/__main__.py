"""``python -m benchmarks.fuzz``."""

import argparse
import time

import optuna

from benchmarks.fuzz import __doc__ as about
from benchmarks.fuzz import fuzz


def main() -> None:
    """Fuzz until the first case that ends otherwise, which Hypothesis then shows."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--examples", type=int, default=1050, help="of most kinds of input")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    begun = time.monotonic()
    cases = fuzz(parser.parse_args().examples)
    seconds = time.monotonic() - begun
    print(f"fuzz: {cases:,} bad inputs in {seconds:.0f} s, no traceback, nothing lost")


if __name__ == "__main__":
    main()
