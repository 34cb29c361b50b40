"""Tests of pure code: no TensorFlow, no workers."""
