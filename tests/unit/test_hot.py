"""What a worker holds of hot conversations: bounded, and only by the version that the store named."""

from __future__ import annotations

from forebay.workers.conversations import Exchange
from forebay.workers.conversations.hot_histories import HeldHistory, HotConversations


def held(version: bytes, *said: str, depth: int = 3, size: int = 10) -> HeldHistory:
    return HeldHistory(version, depth, tuple(Exchange(word, "") for word in said), (size,) * len(said))


def words(found: HeldHistory | None) -> list[str] | None:
    return found and [exchange.said for exchange in found.exchanges]


def test_an_exchange_is_added_only_to_the_version_it_followed() -> None:
    hot = HotConversations()
    hot.put("c", held(b"1", "a"))
    hot.append("c", b"1", b"2", Exchange("b", ""), 10)
    assert words(hot.find("c", 3)) == ["a", "b"]
    for number, word in enumerate("cd", 2):
        hot.append("c", b"%d" % number, b"%d" % (number + 1), Exchange(word, ""), 10)
    found = hot.find("c", 3)
    assert (words(found), found and found.version) == (["b", "c", "d"], b"4")
    hot.append("c", b"5", b"6", Exchange("f", ""), 10)
    assert hot.find("c", 3) is None, "another worker's came between"
    hot.append("never heard of", b"1", b"2", Exchange("b", ""), 10)
    assert (len(hot), hot.bytes) == (0, 0)


def test_more_than_was_held_is_not_found() -> None:
    hot = HotConversations()
    hot.put("c", held(b"1", "a"))
    assert hot.find("c", 2)
    assert hot.find("c", 4) is None
    hot.put("without a version", held(b"", "a"))
    assert hot.find("without a version", 1) is None


def test_the_least_used_go_first() -> None:
    hot = HotConversations(most=2)
    hot.put("a", held(b"1", "a"))
    hot.put("b", held(b"1", "b"))
    hot.find("a", 1)
    hot.put("c", held(b"1", "c"))
    assert [name for name in "abc" if hot.find(name, 1)] == ["a", "c"]
    assert hot.bytes == 2 * held(b"1", "a").bytes
    assert HotConversations(most=0).find("a", 1) is None


def test_bytes_are_bounded_too() -> None:
    one = held(b"1", "a", size=1_000)
    hot = HotConversations(most_bytes=3 * one.bytes)
    for number in range(10):
        hot.put(f"c{number}", one)
        hot.put(f"c{number}", one)
    assert (len(hot), hot.bytes) == (3, 3 * one.bytes)
    hot.put("c9", held(b"1", "too much", size=100_000))
    assert (len(hot), hot.bytes, hot.find("c9", 1)) == (2, 2 * one.bytes, None)
    for number in range(10):
        hot.forget(f"c{number}")
    assert hot.bytes == 0
