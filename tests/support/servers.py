"""A throw-away PostgreSQL server, where the programs are installed."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path


class Server:
    """A PostgreSQL server that listens on a socket in a folder of its own.

    Args:
        programs: Folder of ``initdb`` and ``pg_ctl``.
    """

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="treino-pg-"))
        # PostgreSQL refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        shutil.chown(self._folder, self._user)
        arguments = ("--username=treino", "--auth=trust", "--encoding=UTF8", "--no-locale", "-N")
        self._run("initdb", *arguments)

    @property
    def host(self) -> str:
        """The folder of its socket, as the host of a URL."""
        return str(self._folder)

    def start(self) -> None:
        """Start it; returns when it accepts connections."""
        options = f"-k {self._folder} -c listen_addresses='' -c fsync=off"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-w", "-s", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        """Stop it as if it had crashed."""
        self._run("pg_ctl", "-w", "-s", "-m", "immediate", "stop")

    def remove(self) -> None:
        """Remove its files."""
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str) -> None:
        is_root = os.geteuid() == 0
        group = pwd.getpwnam(self._user).pw_gid
        subprocess.run(
            [self._programs / program, "-D", self._folder / "data", *arguments],
            cwd=self._folder,
            user=self._user if is_root else None,
            group=group if is_root else None,
            extra_groups=[] if is_root else None,
            stdout=subprocess.DEVNULL,  # the server would keep a pipe open
            check=True,
        )


def programs() -> Path | None:
    """The folder of PostgreSQL's server programs; None if they are not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    on_path = shutil.which("pg_ctl")
    if not found and on_path is None:
        return None
    return (found[-1] if found else Path(str(on_path))).parent
