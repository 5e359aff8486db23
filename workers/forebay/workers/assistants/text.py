"""What customers type, brought to one form for comparing: FAQ and router read this. Pure, and linear in the length."""

from __future__ import annotations

import re
from unicodedata import normalize

HAN = "\u3005\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
"""Characters of scripts without spaces between words (Chinese, and the kana), for a character class."""

_RUN = re.compile(rf"[{HAN}]+|[^\W_{HAN}]+")
_HEAP = re.compile(r"((?:[^\w\s]|[\uff9e\uff9f]){8})(?:[^\w\s]|[\uff9e\uff9f])+")
"""Many signs in a row. Putting heaped accents in order takes the square of their number, so the first 8 must do."""
_APOSTROPHE = re.compile("(?<=[a-z])['\u2019](?=[a-z])")
_ANY_HAN = re.compile(rf"[{HAN}]")

_A_NOT_A = re.compile(r"(.)不\1|有没有(?=.)")
_COURTESY = re.compile(
    "请问|你们好|你好|您好|在吗|在不在|哈喽|哈啰|谢谢|多谢|麻烦|想问|问一下|问下|我想知道|想知道|我想了解|想了解|一下|亲亲"
    r"|一般|大概|大约|通常|(?<![什怎这那多])么(?=\s|$)"
)
_SAME = {
    "怎么": "如何|怎样|怎么样|咋样|咋",
    "多久": "什么时候|啥时候|什么时间|何时|几时|多长时间|多少天|几天",
    "什么": "哪些|哪几种|啥",
    "哪里": "在哪里|在哪儿|在哪|哪儿|什么地方",
}
_PLAIN = {word: plain for plain, words in _SAME.items() for word in words.split("|")}
_ASKING = re.compile("|".join(sorted(_PLAIN, key=len, reverse=True)))
_PARTICLES = "吗呢啊呀吧哦嘛啦呐哈"
_COURTEOUS = frozenset(
    {"亲", "嗨", "喂", "客服", "老板", "急", "在线等"}
    | {
        "hi",
        "hello",
        "hey",
        "please",
        "pls",
        "plz",
        "thanks",
        "thank",
        "thx",
        "excuse",
        "sorry",
        "dear",
        "sir",
        "madam",
    }
)


def normalised(text: str) -> str:
    """Lower case, one width, runs of letters and digits with one space between them; the rest, emoji too, is gone.

    Chinese and other letters are apart: ``iPhone１５手机，OK？`` becomes ``iphone15 手机 ok``. Twice is the same as once.
    """
    # Folding may undo a normal form and the other way round, so each comes twice (Unicode, D146).
    folded = normalize("NFKC", normalize("NFKC", normalize("NFKC", _HEAP.sub(r"\1", text)).casefold()).casefold())
    return " ".join(_RUN.findall(_APOSTROPHE.sub("", folded)))


def without_courtesy(text: str) -> str:
    """A normalised text without greetings, thanks and particles.

    ``能不能`` and its like become plain ``能``, and Chinese words of asking that mean the same become one.
    """
    asked = _ASKING.sub(lambda word: _PLAIN[word[0]], _COURTESY.sub(" ", _A_NOT_A.sub(_plain, text)))
    runs = (run.rstrip(_PARTICLES) for run in asked.split())
    return " ".join(run for run in runs if run and run not in _COURTEOUS)


def in_chinese(text: str) -> bool:
    """Whether the customer wrote Chinese: any of its characters, for names of products are often English."""
    return _ANY_HAN.search(text) is not None


def _plain(question: re.Match[str]) -> str:
    return question[1] or "有"
