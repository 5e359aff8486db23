"""``python -m forebay``."""

from .cli import main

main()
