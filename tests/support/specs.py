"""Hypothesis strategies for specs."""

from hypothesis import strategies as st

from models.spec import (
    Block,
    Dense,
    ModelSpec,
)

rates = st.floats(0.0, 0.99)
strengths = st.floats(0.0, 1.0)
blocks = st.builds(
    Block,
    filters=st.integers(1, 512),
    padding=st.sampled_from(["same", "valid"]),
    batch_norm=st.booleans(),
    dropout=rates,
    l2=strengths,
    norm_first=st.booleans(),
    convolutions=st.integers(1, 2),
    pool_first=st.booleans(),
)
models = st.builds(
    ModelSpec,
    blocks=st.lists(blocks, min_size=1, max_size=6).map(tuple),
    dense=st.builds(
        Dense, units=st.integers(0, 1024), batch_norm=st.booleans(), dropout=rates, l2=strengths
    ),
    pooling=st.sampled_from(["flatten", "average"]),
    input_side=st.none() | st.integers(8, 256),
    mirror=st.booleans(),
)
