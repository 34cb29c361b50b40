"""The estimate of a training's memory, beside what a process takes."""

import subprocess
import sys

import pytest

from models.spec import Block, Dense, ModelSpec, estimate_memory

SIDE, BATCH = 64, 128
NETWORK = ModelSpec(
    blocks=tuple(Block(filters=filters, l2=0.001) for filters in (32, 64, 128)),
    dense=Dense(units=512),
)
TRAIN = f"""
import numpy as np, pathlib, resource, sys, tempfile
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
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.parametrize("mirror", [False, True])
def test_the_estimate_is_of_the_right_size(mirror: bool) -> None:
    network = NETWORK.model_copy(update={"mirror": mirror})
    command = [sys.executable, "-c", TRAIN, network.to_json()]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    took = int(done.stdout.split()[-1])
    estimate = estimate_memory(network, (SIDE, SIDE, 3), 3, BATCH)
    assert 0.5 < took / estimate < 1.3
