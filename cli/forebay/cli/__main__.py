"""``python -m forebay.cli``."""

from .command_line import main

main()
