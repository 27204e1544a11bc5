"""Lets `python -m bequest` do what the command `bequest` does."""

from bequest.cli import main

main()
