"""Renders the templates beside this module as self-contained HTML.

Templates escape every value: names, reasons and paths may hold anything. Only an SVG element that
search/figures/svg.py made is markup. Jinja2 is imported on first use.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from search.console.terminal import printable
from search.console.text import duration

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **values: object) -> str:
    """Render a template of the folder ``templates``.

    Raises:
        jinja2.TemplateError: The template is wrong, or uses a value that it was not given.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["file"] = _file
    environment.filters["duration"] = duration
    environment.filters["sha256"] = _sha256
    return environment


def _plain(value: object) -> object:
    """A value as the page shows it: `printable`, but with its line breaks."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return "\n".join(map(printable, value.split("\n")))
    return value


def _file(name: str) -> "Markup":
    """Style sheet or script of the folder, to be written into a page."""
    from markupsafe import Markup

    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704 - our own


def _sha256(script: str) -> str:
    """A script's hash, as a content security policy names it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
