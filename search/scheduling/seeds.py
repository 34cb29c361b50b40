"""Seeds that Keras and NumPy accept, derived from the seed of the study."""

import numpy as np


def training_seed(seed: int) -> int:
    """A seed that Keras and NumPy's old generators take, 0 to 2**32 - 1.

    It is the seed itself if in range; larger seeds, such as clock times, stay distinct.
    """
    return seed if seed < 2**32 else int(np.random.SeedSequence(seed).generate_state(1)[0])


def trial_seed(seed: int, number: int) -> int:
    """The seed of a trial: 0 to 2**32 - 1, distinct from other trials and study seeds."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
