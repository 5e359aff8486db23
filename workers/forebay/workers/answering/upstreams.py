"""Connecting: from an assistant and the settings to the models that may answer, each behind each of its provider's keys."""

from __future__ import annotations

from forebay.schemas import SettingsError
from forebay.workers.assistants import Assistant
from forebay.workers.assistants.definition import DEFAULT_MODEL
from forebay.workers.flow.breaker import BreakerPolicy
from forebay.workers.flow.chain import Chain
from forebay.workers.flow.concurrency import AdaptiveLimit
from forebay.workers.flow.shared_limits import SharedLimits
from forebay.workers.flow.upstream import Upstream
from forebay.workers.models import Catalogue, Clients, ModelOptions, keys_of
from forebay.workers.settings import WorkerSettings


def connect(
    assistant: Assistant, settings: WorkerSettings, clients: Clients, shared: SharedLimits | None = None
) -> Chain:
    """The chain of all models of an assistant. Raises SettingsError."""
    catalogue = Catalogue.load(settings.catalogue)
    breaker = BreakerPolicy(failures=settings.breaker_failures, open_s=settings.breaker_open_s)
    names, tiers = wanted_models(assistant, settings), []
    for wanted in names:
        name, known = catalogue.find(wanted)
        options = assistant.options.get(wanted, ModelOptions())
        if options.sampling and not known.sampling:
            raise SettingsError(
                f"the assistant's options for {wanted}: it takes no {min(options.sampling)}; leave it out"
            )
        keys = keys_of(known.provider, name)
        tier = [
            Upstream(
                clients.model(name, known.provider, key, options),
                known,
                f"#{number}" if len(keys) > 1 else "",
                breaker,
                settings.rate_limits(),
            )
            for number, key in enumerate(keys, 1)
        ]
        if shared is not None:
            for upstream, key in zip(tier, keys, strict=True):
                upstream.rate = shared.limit(f"{known.provider} {name} {key}", settings.rate_limits())
        tiers.append(tier)
    fallbacks = len(set(assistant.fallbacks or settings.fallback_names()) - {names[0]})
    chain = Chain(tiers, AdaptiveLimit(settings.concurrency, settings.concurrency_floor), names, fallbacks)
    if shared is not None:
        shared.on_change = chain.look
    return chain


def wanted_models(assistant: Assistant, settings: WorkerSettings) -> tuple[str, ...]:
    """All models of an assistant, by the names it gives them: the first, its fallbacks, those for some turns, the
    summaries'.
    """
    first = assistant.model or settings.model or DEFAULT_MODEL
    own = (specialist.model for specialist in assistant.specialists if specialist.model)
    fallbacks = assistant.fallbacks or settings.fallback_names()
    summaries = (assistant.window.summary_model,) if assistant.window.summarise else ()
    wanted = (first, *fallbacks, *assistant.models.values(), *own, *filter(None, summaries))
    if unknown := set(assistant.options) - set(wanted):
        raise SettingsError(f"the assistant has options for {min(unknown)!r}, a model it never asks: correct the name")
    return tuple(dict.fromkeys(wanted))
