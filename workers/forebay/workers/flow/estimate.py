"""Estimates of a call's tokens before it is made, corrected by the usage of every reply. Pure.

No vendor has an exact offline tokenizer, so the count starts from the length in UTF-8: about 4 bytes a token in English,
3 bytes (one character) in Chinese.
"""

from __future__ import annotations

from functools import lru_cache

from forebay.schemas import Usage
from forebay.workers.models import Prompt, ToolSpec
from forebay.workers.models.prompt import BYTES_A_TOKEN

from .limits import Amounts

_GAIN = 0.05
"""Weight of the newest reply in the running means."""
_FIRST_OUTPUT = 256.0


class TokenEstimate:
    """Estimates the tokens of one model's calls."""

    def __init__(self) -> None:
        self._ratio = 1.0
        self._output = 0.0
        self._spread = 0.0

    @property
    def bytes_a_token(self) -> float:
        """Bytes of UTF-8 in a prompt token, as learned so far."""
        return BYTES_A_TOKEN / self._ratio

    def of(self, prompt: Prompt) -> Amounts:
        """The amounts of one call; for the output its mean and half its usual deviation: it is rarely too low in sum."""
        entered = _length(prompt) / BYTES_A_TOKEN * self._ratio
        written = min(prompt.max_tokens, (self._output + self._spread / 2) or min(_FIRST_OUTPUT, prompt.max_tokens))
        return {"requests": 1.0, "tokens": entered + written, "input_tokens": entered, "output_tokens": written}

    def learn(self, prompt: Prompt, usage: Usage) -> None:
        """Learns from the true usage of a call."""
        if usage.input_tokens:
            true_ratio = (usage.input_tokens + usage.cache_read_tokens) / max(1.0, _length(prompt) / BYTES_A_TOKEN)
            self._ratio += _GAIN * (true_ratio - self._ratio)
        if not self._output:
            self._output = float(usage.output_tokens)
        difference = usage.output_tokens - self._output
        self._output += _GAIN * difference
        self._spread += _GAIN * (abs(difference) - self._spread)


def _length(prompt: Prompt) -> int:
    """Bytes of all that the model is told."""
    said = sum(message.size for message in prompt.messages)
    return len(prompt.system.encode()) + _tools_length(prompt.tools) + said


@lru_cache(maxsize=64)
def _tools_length(tools: tuple[ToolSpec, ...]) -> int:
    """The same few tools come with every prompt."""
    return sum(len(tool.name) + len(tool.description.encode()) + len(tool.schema.encode()) for tool in tools)
