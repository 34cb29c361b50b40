"""Count the operations of a network that was built."""

import math

import keras
import tensorflow as tf


def multiply_adds(network: keras.Model) -> int:
    """Multiplications with an addition per image in a forward pass: convolutions and products.

    They are counted in TensorFlow's graph, without those inside loops, such as a recurrent
    layer's. For the built-in networks ``models.spec.count_operations`` gives the same number.
    """
    images = network.inputs[0]
    one = tf.TensorSpec((1, *images.shape[1:]), images.dtype)
    traced = tf.function(lambda image: network(image, training=False)).get_concrete_function(one)
    return _of_graph(traced.graph)


def _of_graph(graph: tf.Graph) -> int:
    return sum(map(_of_operation, graph.get_operations()))


def _of_operation(operation: tf.Operation) -> int:
    shapes = list(map(_shape, operation.inputs))
    match operation.type:
        case "PartitionedCall" | "StatefulPartitionedCall":  # such as Keras's grouped convolutions
            name = operation.get_attr("f").name
            return _of_graph(operation.graph._get_function(name).graph)  # noqa: SLF001 - no public API
        case "Conv2D" | "Conv3D":
            return _values(operation) * math.prod(shapes[1][:-1])
        case "DepthwiseConv2dNative":
            return _values(operation) * math.prod(shapes[1][:2])
        case "Conv2DBackpropInput":  # a transposed convolution
            return math.prod(shapes[2]) * math.prod(shapes[1][:-1])
        case "MatMul":
            return _values(operation) * shapes[0][_inner(operation, "transpose_a")]
        case "BatchMatMul" | "BatchMatMulV2":
            return _values(operation) * shapes[0][_inner(operation, "adj_x")]
        case "Einsum":
            inputs = operation.get_attr("equation").decode().split("->")[0].split(",")
            sides = {
                name: side
                for labels, shape in zip(inputs, shapes, strict=True)
                for name, side in zip(labels, shape, strict=False)
            }
            return math.prod(sides.values())
    return 0


def _values(operation: tf.Operation) -> int:
    """Number of values that an operation has as its result."""
    return math.prod(_shape(operation.outputs[0]))


def _shape(tensor: tf.Tensor) -> tuple[int, ...]:
    """Shape of a tensor; a side that depends on the values counts as 1."""
    return () if tensor.shape.rank is None else tuple(side or 1 for side in tensor.shape)


def _inner(operation: tf.Operation, transposed: str) -> int:
    """Axis of the first factor over which a product of matrices sums."""
    return -2 if operation.get_attr(transposed) else -1
