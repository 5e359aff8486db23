"""Mistakes in an assistant's definition: refused at the start, in one line with the field and the fix."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from forebay.rehearsal.shop.assistant import assistant as shop
from forebay.schemas import SettingsError
from forebay.workers.answering.upstreams import wanted_models
from forebay.workers.assistants import Assistant, HandOff, McpServer, Specialist, ToolLimits, load_assistant
from forebay.workers.assistants.checking import check
from forebay.workers.assistants.routing import Routing
from forebay.workers.conversations.redaction import Redactor
from forebay.workers.conversations.window import Window
from forebay.workers.models import Catalogue, ModelOptions
from forebay.workers.settings import WorkerSettings

HALF = "\ud83d"


def get_stock(sku: str) -> int:
    """Pieces in stock."""
    return len(sku)


async def later(given: Any) -> Any:
    return given


def slowly(given: Any) -> Any:
    yield given


class Later:
    async def __call__(self, given: Any) -> Any:
        return given


def one(**changes: Any) -> tuple[Specialist, ...]:
    given: dict[str, Any] = {"name": "orders", "instructions": "", "intents": ("order",)}
    return (Specialist(**given | changes),)


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"instructions": None}, "instructions", "write it in quotes"),
    ({"instructions": f"Be {HALF}"}, "instructions", "take it out"),
    ({"model": 5}, "model", "write it in quotes"),
    ({"model": " "}, "model", "write a name"),
    ({"model": f"a{HALF}"}, "model", "take it out"),
    ({"models": ["claude-haiku-4-5"]}, "models", "write models={'complex': 'a model'}"),
    ({"models": {"hard": "claude-haiku-4-5"}}, "models", "one of 'simple', 'complex', 'reasoning'"),
    ({"models": {"complex": None}}, "models['complex']", "write it in quotes"),
    ({"complexity": "simple"}, "complexity", "make it a plain function"),
    ({"complexity": later}, "complexity", "make it a plain function"),
    ({"complexity": slowly}, "complexity", "make it a plain function"),
    ({"complexity": Later()}, "complexity", "make it a plain function"),
    ({"complexity": partial(later)}, "complexity", "make it a plain function"),
    ({"complexity": lambda: "simple"}, "complexity", "one argument, the signals"),
    ({"last_resort": "x"}, "last_resort", "make it a plain function"),
    ({"last_resort": later}, "last_resort", "make it a plain function"),
    ({"redaction": True}, "redaction", "write Redactor(), or None"),
    ({"hand_off": True}, "hand_off", "write HandOff()"),
    ({"hand_off": HandOff(when="x")}, "hand_off.when", "make it a plain function"),  # type: ignore[arg-type]
    ({"hand_off": HandOff(when=later)}, "hand_off.when", "make it a plain function"),  # type: ignore[arg-type]
    ({"hand_off": HandOff(after_failures=-1)}, "hand_off.after_failures", "from 0"),
    ({"hand_off": HandOff(by_model=1)}, "hand_off.by_model", "True nor False"),  # type: ignore[arg-type]
    ({"window": {}}, "window", "write Window(...)"),
    ({"window": Window(tokens=1.5)}, "window.tokens", "whole number"),  # type: ignore[arg-type]
    ({"window": Window(summary_model=5)}, "window.summary_model", "in quotes"),  # type: ignore[arg-type]
    ({"window": Window(summarise="no")}, "window.summarise", "True nor False"),  # type: ignore[arg-type]
    ({"tools": get_stock}, "tools", "write tools=(get_stock,), with the comma"),
    ({"tools": [get_stock]}, "tools", "write tools=(get_stock,), with the comma"),
    ({"tools": (None,)}, "tools[0]", "put a function there"),
    ({"tools": (get_stock, "t")}, "tools[1]", "put a function there"),
    ({"tools": (get_stock, int)}, "tools[1]", "put a function there"),
    ({"specialists": ("a",)}, "specialists[0]", "write Specialist(...)"),
    ({"specialists": one()[0]}, "specialists", "with the comma"),
    ({"specialists": one(intents="parcel")}, "specialists[0].intents", "write intents=('parcel',)"),
    ({"specialists": one(intents=(1,))}, "specialists[0].intents[0]", "in quotes"),
    ({"specialists": one(name=None)}, "specialists[0].name", "in quotes"),
    ({"specialists": one(name=f"a{HALF}\n")}, "specialists[0].name", "take it out"),
    ({"specialists": one(instructions=None)}, "specialists[0].instructions", "in quotes"),
    ({"specialists": one(tools=(None,))}, "specialists[0].tools[0]", "put a function there"),
    ({"specialists": one() + one(name="b", intents=("x", "Order!"))}, "specialists[1].intents", "leave it to one"),
    ({"options": {"m": {}}}, "options['m']", "write ModelOptions(...)"),
    ({"options": ModelOptions()}, "options", "write options={"),
    ({"options": {"m": ModelOptions(max_tokens=0)}}, "options['m'].max_tokens", "from 1 to 1,000,000"),
    ({"options": {"m": ModelOptions(call_s=math.nan)}}, "options['m'].call_s", "above 0"),
    ({"options": {"m": ModelOptions(temperature="1")}}, "options['m'].temperature", "from 0 to 2"),  # type: ignore[arg-type]
    ({"faq": 5}, "faq", "write the path"),
    ({"faq": ""}, "faq", "write the path"),
    ({"faq": "a\0b"}, "faq", "write the path"),
    ({"fallbacks": "claude-haiku-4-5"}, "fallbacks", "write fallbacks=('a model',)"),
    ({"max_tokens": 0}, "max_tokens", "from 1 to 1,000,000"),
    ({"max_tokens": 1_000_001}, "max_tokens", "from 1 to 1,000,000"),
    ({"max_tokens": 10**9_000}, "max_tokens", "from 1 to 1,000,000"),
    ({"max_tokens": True}, "max_tokens", "whole number"),
    ({"confirm_s": 0}, "confirm_s", "above 0 to 2,592,000"),
    ({"confirm_s": -1.0}, "confirm_s", "above 0"),
    ({"confirm_s": math.inf}, "confirm_s", "above 0"),
    ({"confirm_s": math.nan}, "confirm_s", "above 0"),
    ({"confirm_s": 30 * 86_400 + 1}, "confirm_s", "to 2,592,000"),
    ({"confirm_s": "600"}, "confirm_s", "write a number"),
    ({"tool_limits": ToolLimits(rounds="6")}, "tool_limits.rounds", "whole number"),  # type: ignore[arg-type]
    ({"tool_limits": ToolLimits(calls=-1)}, "tool_limits.calls", "from 0"),
    ({"tool_limits": ToolLimits(seconds=math.inf)}, "tool_limits.seconds", "from 0"),
    ({"tool_limits": ToolLimits(result_bytes=-1)}, "tool_limits.result_bytes", "from 0"),
    ({"tool_limits": 6}, "tool_limits", "write ToolLimits(...)"),
]


@pytest.mark.parametrize(
    ("given", "field", "fix"), WRONG, ids=[f"{field}-{at}" for at, (_, field, _) in enumerate(WRONG)]
)
def test_a_mistake_is_told_in_one_line_with_field_and_fix(given: dict[str, Any], field: str, fix: str) -> None:
    for refusing in (check, Routing):
        with pytest.raises(SettingsError) as refused:
            refusing(Assistant(**given))
        told = str(refused.value)
        assert told.startswith(f"the assistant: {field}: ")
        assert fix in told
        assert len(told.encode().splitlines()) == 1
        assert len(told) < 300


def test_what_is_no_assistant() -> None:
    with pytest.raises(SettingsError, match=r"^the assistant: 5 is no Assistant; write Assistant"):
        check(5)  # type: ignore[arg-type]


def test_what_is_right_is_left_alone() -> None:
    check(Assistant())
    check(shop)
    check(
        Assistant(
            models={"complex": "claude-sonnet-5-5"},
            complexity=lambda _: "simple",
            faq=Path("faq.yaml"),
            options={"claude-haiku-4-5": ModelOptions(max_tokens=1, temperature=0, top_p=1.0, call_s=5)},
            specialists=one() + one(name="b", intents=("parcel", "PARCEL", "?!")),
            tools=(get_stock, McpServer(command=("server",))),
            tool_limits=ToolLimits(0, 0, 0, 0),
            confirm_s=30 * 86_400.0,
            redaction=None,
            hand_off=HandOff(after_failures=0, when=bool),
            last_resort=str,
        )
    )


def test_the_summaries_model_is_one_of_the_assistants_and_the_last() -> None:
    settings = WorkerSettings()
    named = Assistant(window=Window(summary_model="nope"), fallbacks=("gpt-5-mini",), models={"complex": "other"})
    assert wanted_models(named, settings)[1:] == ("gpt-5-mini", "other", "nope")
    with pytest.raises(SettingsError, match="'nope'"):
        [
            Catalogue.load().find(name)
            for name in wanted_models(Assistant(window=Window(summary_model="nope")), settings)
        ]
    silent = Assistant(window=Window(summary_model="nope", summarise=False))
    assert "nope" not in wanted_models(silent, settings), "it is never asked"


def test_a_text_for_the_fields_of_a_redactor() -> None:
    with pytest.raises(ValueError, match=r"write fields=\('passport',\)"):
        Redactor(fields="passport")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import sys\nsys.exit('bye')", "SystemExit: bye: a definition must not end the process"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("import sys\nsys.nothing", "AttributeError: module 'sys' has no attribute 'nothing'"),
        ("x = 1", "has no 'a'"),
        (
            "from forebay.workers.conversations.redaction import Redactor\na = Redactor(fields='x')",
            "write fields=('x',)",
        ),
        (
            "from forebay.workers.assistants import Assistant\na = Assistant(max_tokens=0)",
            "the assistant: max_tokens: 0 is out",
        ),
    ],
)
def test_what_a_module_does_wrong_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, told: str
) -> None:
    name = f"module_of_this_test_{abs(hash(code))}"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError) as refused:
        load_assistant(f"{name}:a")
    assert told in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
