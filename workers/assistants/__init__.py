"""Assistants: who answers, and with what instructions."""

from .definition import Assistant, load_assistant

__all__ = ["Assistant", "load_assistant"]
