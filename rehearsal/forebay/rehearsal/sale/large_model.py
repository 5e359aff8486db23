"""One large model for every turn: the assistant of a rehearsal without what routes its turns, for a comparison.

Workers load it by name, so what it is made of comes from the environment.
"""

from __future__ import annotations

import os
from dataclasses import replace

from forebay.workers.assistants.definition import Assistant
from forebay.workers.assistants.loading import load_assistant

NAME = f"{__name__}:assistant"
OF, MODEL = "REHEARSAL_ASSISTANT", "REHEARSAL_MODEL"


def one_large_model(routed: Assistant, model: str) -> Assistant:
    """The same instructions and tools, but no FAQ and no choice of models: this one answers everything."""
    specialists = tuple(replace(specialist, model=None) for specialist in routed.specialists)
    return replace(routed, model=model, models={}, fallbacks=(), faq=None, specialists=specialists)


def __getattr__(name: str) -> Assistant:
    if name != "assistant":
        raise AttributeError(name)
    return one_large_model(load_assistant(os.environ[OF]), os.environ[MODEL])
