"""Redaction: personal data leaves the text before it goes to a model or a log, and comes back in the answer. Pure, no I/O."""

from typing import TYPE_CHECKING

from forebay.schemas.lazy import lazily

_MODULES = {
    ".personal_data": "Detector PersonalData",
    ".redactor": "KINDS Redactor",
    ".restoring": "RestoringStream restore restore_value",
    ".vault": "Vault",
}

if TYPE_CHECKING:
    from .personal_data import Detector, PersonalData
    from .redactor import KINDS, Redactor
    from .restoring import RestoringStream, restore, restore_value
    from .vault import Vault
else:
    __getattr__ = lazily(__name__, _MODULES)

__all__ = ["KINDS", "Detector", "PersonalData", "Redactor", "RestoringStream", "Vault", "restore", "restore_value"]
