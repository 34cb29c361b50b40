"""Ctrl-C, SIGTERM and SIGHUP: noted while something is at work, quiet before and after."""

import os
import signal
import subprocess
import sys

import pytest

from search.interruption import CtrlC, Interruption


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_is_noted_and_a_second_one_is_urgent(number: int, code: int) -> None:
    with Interruption() as interruption:
        assert (interruption.asked, interruption.exit_code) == (False, 0)
        os.kill(os.getpid(), number)
        assert (interruption.asked, interruption.now) == (True, False)
        os.kill(os.getpid(), signal.SIGHUP)  # a closing terminal sends more than one
        assert (interruption.asked, interruption.now) == (True, False)
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.now
    assert interruption.exit_code == code


def test_a_hang_up_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interruption.asked
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c_is_known_to_have_come_whatever_was_made_of_it() -> None:
    before = signal.getsignal(signal.SIGINT)
    with CtrlC() as ctrl_c:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt as error:
            made_of_it: BaseException = ImportError("no such library").with_traceback(
                error.__traceback__
            )
    assert ctrl_c.came
    assert isinstance(made_of_it, ImportError)
    assert signal.getsignal(signal.SIGINT) is before


HOSTILE_MOMENTS = {
    "in an import": "sys.modules.pop('search.errors', None); interrupt()",
    "turned into another error": """
try:
    interrupt()
except BaseException as error:
    raise ImportError("libsomething.so") from error
""",
    "where nothing can be raised": """
class Library:
    def __del__(self):
        interrupt()
library = Library()
del library
""",
    "in a thread's way": "import threading; threading.Thread(target=interrupt).start(); wait()",
}


@pytest.mark.parametrize("moment", HOSTILE_MOMENTS)
def test_ctrl_c_ends_a_command_without_a_word(moment: str) -> None:
    code = HOSTILE_MOMENTS[moment]
    program = f"""
import os, signal, sys, time
from search.cli import app as cli
def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
def wait():
    signal.sigwait([signal.SIGUSR1])
def command(arguments):
    exec({code!r}, {{**globals()}})
cli._run = command
cli.main([])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
