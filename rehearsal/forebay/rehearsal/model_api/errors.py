"""The one error of this package."""


class ModelApiError(Exception):
    """The simulated model API cannot do what was asked; the message is one line that says what to change."""
