"""``python -m spillway``."""

from .cli import main

main()
