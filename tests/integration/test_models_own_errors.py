"""Errors in one line: the cause, and nothing that Keras or TensorFlow puts around it."""

import numpy as np
import pytest

from models.own_errors import cause, why_not_loadable

CALLED = (
    "Exception encountered when calling Sequential.call().\n\n"
    "Exception encountered when calling Mine.call().\n\n"
    "\x1b[1mshapes do not match\x1b[0m\n\n"
    "Arguments received by Mine.call():\n  • args=('<KerasTensor>',)\n\n"
    "Arguments received by Sequential.call():\n  • x=tf.Tensor([[1 2]])"
)
IN_GRAPH = (
    "Graph execution error:\n\nDetected at node Mine/Reshape defined at (most recent call last):\n"
    '  File "/home/me/net.py", line 3, in <module>\n\n<stack traces unavailable>\n'
    "Input is a tensor with 12 values, the requested shape has 10\n"
    "\t [[{{node Mine/Reshape}}]] [Op:__inference_one_step_on_iterator_812]"
)
USER_CODE = (
    'in user code:\n\n    File "/home/me/net.py", line 3, in call  *\n'
    "        return x + y\n\n    ValueError: operands do not go together\n"
)
LOADING = (
    "<class 'keras.src.models.functional.Functional'> could not be deserialized properly.\n\n"
    "config={'module': 'keras'}.\n\nException encountered: Error in 'Activation'\n\n"
    "config={'a': 1}.\n\nException encountered: Could not locate function 'act'. Make sure custom "
    "classes are decorated. Full object config: {'module': None}"
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (CALLED, "ValueError: Mine: shapes do not match"),
        (IN_GRAPH, "ValueError: Input is a tensor with 12 values, the requested shape has 10"),
        (USER_CODE, "ValueError: operands do not go together"),
        ("", "ValueError"),
        ("no <object at 0x7f12ab> here", "ValueError: no <object> here"),
        ("{{function_node x}} went wrong [Op:Add]", "ValueError: went wrong"),
        (f"images {np.arange(60.0).reshape(3, 20)} here", "ValueError: images […]"),
        (
            "shape [32, 32, 3] and (None, 8, 8, 3)",
            "ValueError: shape [32, 32, 3] and (None, 8, 8, 3)",
        ),
        ("an error\nwith a second line", "ValueError: an error"),
    ],
)
def test_the_cause_is_kept_and_the_rest_is_not(text: str, line: str) -> None:
    assert cause(ValueError(text)) == line


def test_what_cannot_be_loaded_is_named_with_what_to_do_about_it() -> None:
    assert why_not_loadable(TypeError(LOADING)) == (
        "Keras does not know the function 'act': put @keras.saving.register_keras_serializable() "
        "before it"
    )
    assert "nothing known: use layers of Keras's" in why_not_loadable(TypeError("nothing known"))
