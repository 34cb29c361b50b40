"""The estimate of a training's memory, beside what a process takes."""

import resource
import subprocess
import sys

from models.spec import Block, Dense, ModelSpec, estimate_memory

SIDE, BATCH = 64, 128
NETWORK = ModelSpec(
    blocks=tuple(Block(filters=filters, l2=0.001) for filters in (32, 64, 128)),
    dense=Dense(units=512),
)
TRAIN = f"""
import numpy as np, pathlib, sys, tempfile
from models.spec import ModelSpec, TrainingSpec
from models.training import fit, prepare_process
from tests.support.pictures import Pictures, Sets
prepare_process(1)
def pictures(n):
    return Pictures(np.zeros((n, {SIDE}, {SIDE}, 3), np.uint8), np.zeros(n, np.int32), (n,))
sets = Sets(pictures({2 * BATCH}), pictures(500), pictures(1))
with tempfile.TemporaryDirectory() as folder:
    fit(ModelSpec.from_json(sys.argv[1]), TrainingSpec(batch_size={BATCH}, epochs=1), sets,
        seed=1, checkpoint=pathlib.Path(folder, "c.npz"))
"""


def test_the_estimate_is_of_the_right_size() -> None:
    subprocess.run([sys.executable, "-c", TRAIN, NETWORK.to_json()], check=True)
    took = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024  # the largest child's
    estimate = estimate_memory(NETWORK, (SIDE, SIDE, 3), 3, BATCH)
    assert 0.5 < took / estimate < 1.3
