"""The version of the installed package."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("forebay")
except PackageNotFoundError:  # a source tree that was never installed
    VERSION = "unknown"
