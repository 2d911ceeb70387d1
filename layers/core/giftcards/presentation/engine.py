"""The template engine, set up once: everything is escaped, and a name that is not there is an error.

Compiling the page's template takes half as long as importing Jinja2, and every cold start would do it. Therefore the
build of the layer compiles the templates (``python -m giftcards.presentation.engine FOLDER``), and the functions import
the result. Where there is none, as in a checkout, templates are compiled when they are loaded.
"""

import sys
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, ModuleLoader, StrictUndefined, Template

_HERE = Path(__file__).parent
_SOURCES = FileSystemLoader(_HERE / "templates")
_ENVIRONMENT = Environment(
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
    loader=ChoiceLoader([ModuleLoader(_HERE / "compiled"), _SOURCES]),
)


def template(name: str) -> Template:
    """Return a template, compiled."""
    return _ENVIRONMENT.get_template(name)


def source(name: str) -> str:
    """Return the text of a file among the templates, such as the style."""
    return (_HERE / "templates" / name).read_text(encoding="utf-8")


if __name__ == "__main__":
    _ENVIRONMENT.loader = _SOURCES
    _ENVIRONMENT.compile_templates(sys.argv[1], extensions=["html"], zip=None, ignore_errors=False)
