"""The small decisions: retries, prices, deltas, settings, the check."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.cli.ask_replies import printable
from forebay.rehearsal.customers import Customers
from forebay.rehearsal.delivery_check import DeliveryCheck
from forebay.rehearsal.demo import _SALE
from forebay.schemas import Cluster, Delta, Reply, SettingsError, Turn, Usage, encode
from forebay.workers.answering.deltas import PERIOD_S, DeltaStream
from forebay.workers.assistants import load_assistant
from forebay.workers.engine.outbox import BatchPacing
from forebay.workers.models import Catalogue, keys_of
from forebay.workers.models.model import count, retry_after_s, whole_text
from forebay.workers.settings import WorkerSettings


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "Wed, 11 Nov 2026 00:00:30 GMT"}, 30.0),
        ({"retry-after": "Wed, 11 Nov 2025 00:00:30 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "x"}, None),
    ],
)
def test_retry_after_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, datetime(2026, 11, 11, tzinfo=UTC)) == seconds


def test_prices() -> None:
    catalogue = Catalogue.load()
    _, haiku = catalogue.find("claude-haiku-4-5")
    assert haiku.cost_usd(Usage(input_tokens=812, output_tokens=64)) == 0.001132
    _, tiered = catalogue.find("claude-haiku-5-5")
    assert tiered.cost_usd(Usage(input_tokens=100_000, output_tokens=0)) == 0.01
    assert tiered.cost_usd(Usage(input_tokens=100_001, output_tokens=0)) == pytest.approx(0.0500005)
    deepseek, million = catalogue.models["deepseek-flash"], Usage(input_tokens=1_000_000)
    at = [
        datetime(2026, 11, day, hour, 59, tzinfo=UTC).timestamp() for day, hour in ((20, 3), (20, 4), (20, 9), (21, 3))
    ]
    assert [deepseek.cost_usd(million, moment) for moment in at] == [0.30, 0.15, 0.30, 0.15]
    assert deepseek.cost_usd(million) == 0.30, "an estimate takes the dearest"
    assert catalogue.find("openai:my-model")[1].cost_usd(Usage(input_tokens=5)) is None
    assert catalogue.find("anthropic:claude-haiku-4-5")[1] == haiku


def test_a_catalogue_of_ones_own(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text('[models.mine]\nprovider = "openai"\nprice = { input = 1, output = 2, cache_read = 0.5 }\n')
    catalogue = Catalogue.load(prices)
    assert catalogue.find("mine")[1].provider == "openai"
    assert catalogue.find("gpt-6-luna")
    prices.write_text('[models.mine]\nprovider = "acme"\n')
    with pytest.raises(SettingsError, match=r"prices\.toml'?: models\.mine\.provider"):
        Catalogue.load(prices)
    with pytest.raises(SettingsError, match="No such file"):
        Catalogue.load(tmp_path / "none.toml")


@pytest.mark.parametrize("name", ["", "gpt-7", "openai:", "acme:model", ":x"])
def test_unknown_models(name: str) -> None:
    with pytest.raises(SettingsError, match="not in the catalogue"):
        Catalogue.load().find(name)


def test_a_missing_key_is_said_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(SettingsError, match="OPENAI_API_KEY is not set, and gpt-6-luna needs it"):
        keys_of("openai", "gpt-6-luna")
    monkeypatch.setenv("OPENAI_API_KEY", "one")
    assert keys_of("openai", "gpt-6-luna") == ("one",)
    monkeypatch.setenv("FOREBAY_OPENAI_API_KEYS", "two, three,two")
    assert keys_of("openai", "gpt-6-luna") == ("two", "three")
    monkeypatch.setenv("FOREBAY_OPENAI_API_KEYS", "two,thr\nee")
    with pytest.raises(SettingsError, match="FOREBAY_OPENAI_API_KEYS has white space"):
        keys_of("openai", "gpt-6-luna")


TURN = Turn(turn_id="t", conversation_id="c", text="hi", stream=True)


@given(st.lists(st.tuples(st.text(min_size=1, max_size=5), st.floats(0, 0.2)), max_size=60))
def test_deltas_are_coalesced_and_whole(fragments: list[tuple[str, float]]) -> None:
    now, sent = [0.0], list[tuple[float, Delta]]()
    stream = DeltaStream(TURN, lambda delta: sent.append((now[0], delta)), lambda: now[0])
    for text, wait in fragments:
        now[0] += wait
        stream.add(text)
    ended = len(sent)
    stream.flush()
    assert "".join(delta.text for _, delta in sent) == "".join(text for text, _ in fragments)
    assert [delta.sequence for _, delta in sent] == list(range(len(sent)))
    moments = [at for at, _ in sent[:ended]]
    assert all(later - earlier >= PERIOD_S - 1e-9 for earlier, later in pairwise(moments))


@given(st.text(st.characters(codec="utf-8"), max_size=20), st.integers(1, 3))
def test_characters_split_over_fragments_come_whole(text: str, size: int) -> None:
    units = text.encode("utf-16-le")
    halves = [units[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(units), 2)]
    sent: list[Delta] = []
    clock = iter(range(10_000))
    stream = DeltaStream(TURN, sent.append, lambda: float(next(clock)))
    for at in range(0, len(halves), size):
        stream.add("".join(halves[at : at + size]))
    stream.flush()
    assert "".join(delta.text for delta in sent) == text
    assert all(encode(delta) for delta in sent)


def test_what_a_provider_sends_instead_of_text() -> None:
    assert whole_text("a\ud83d\ude00b") == "a\U0001f600b"
    assert whole_text("a\ud83d") == "a\ufffd"
    with pytest.raises(TypeError):
        whole_text(["text"])
    assert [count(value) for value in (5, 5.7, -1, "5", None)] == [5, 5, 0, 0, 0]


def test_a_restart_marks_the_next_delta_only_when_something_was_shown() -> None:
    sent: list[Delta] = []
    stream = DeltaStream(TURN, sent.append, lambda: 0.0)
    stream.restart()
    stream.add("one")
    stream.restart()
    stream.add("two")
    stream.flush()
    stream.add("three")
    stream.flush()
    assert [(delta.text, delta.restart) for delta in sent] == [("one", False), ("two", True), ("three", False)]


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=300))
def test_rounds_are_paced_and_a_few_leave_at_once(gaps: list[float]) -> None:
    pace, now, left = BatchPacing(0.0), 0.0, list[float]()
    for gap in gaps:
        now += gap
        now += pace.wait_s(now)
        left.append(now)
    for first, last in zip(left, left[60:], strict=False):
        assert last - first >= (60 - BatchPacing.BURST) / BatchPacing.ROUNDS_A_SECOND - 1e-6
    rested = BatchPacing(0.0)
    assert [rested.wait_s(0.0) for _ in range(int(BatchPacing.BURST))] == [0.0] * int(BatchPacing.BURST)
    assert rested.wait_s(0.0) > 0


def test_settings_name_the_variable_the_value_and_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_CONCURRENCY", "0")
    monkeypatch.setenv("FOREBAY_DRAIN_S", "soon")
    with pytest.raises(SettingsError) as refused:
        WorkerSettings.read()
    lines = str(refused.value).splitlines()
    assert lines[0].startswith("FOREBAY_CONCURRENCY='0': input should be greater")
    assert lines[1].startswith("FOREBAY_DRAIN_S='soon': input should be a valid number")


def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    monkeypatch.setenv("FOREBAY_KAFKA_SASL_USERNAME", "shop")
    monkeypatch.setenv("FOREBAY_KAFKA_SASL_PASSWORD", "hunter2")
    cluster = Cluster.read()
    assert "hunter2" not in repr(cluster)
    assert cluster.connection()["sasl_plain_password"] == "hunter2"


def test_a_users_folder_and_ours_never_hide_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "forebay.py").write_text("raise RuntimeError('shadowed')")
    (tmp_path / "schemas.py").write_text("WORD = 'Be brief.'")
    (tmp_path / "shop_assistant.py").write_text(
        "import schemas\nfrom forebay.workers.assistants import Assistant\nassistant = Assistant(instructions=schemas.WORD)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in __import__("sys").path if path])
    assert load_assistant("shop_assistant:assistant").instructions == "Be brief."


def reply(turn_id: str, reply_id: str = "r", conversation_id: str = "c") -> Reply:
    return Reply(
        turn_id=turn_id,
        conversation_id=conversation_id,
        reply_id=reply_id,
        outcome="answered",
        text="x",
        created_at=datetime(2026, 11, 11, tzinfo=UTC),
    )


def test_the_tally_finds_what_is_wrong() -> None:
    check = DeliveryCheck()
    for turn_id in ("1", "2", "3", "4"):
        check.turn_sent("c", turn_id, 0.0)
    for said in (reply("2"), reply("1"), reply("1"), reply("2", "other"), reply("9")):
        check.reply_read(said, encode(said), 1.0)
    forgetful = reply("3")
    check.reply_read(forgetful, encode(forgetful), 1.0, remembered=False)
    verdict = check.verdict()
    assert (verdict.sent, verdict.lost, verdict.out_of_order, verdict.duplicates) == (4, 1, 1, 1)
    assert (verdict.repeats, verdict.forgotten) == (1, 1)
    assert not verdict.kept


def test_a_merged_turn_is_lost_where_the_one_it_went_into_has_no_reply() -> None:
    check = DeliveryCheck()
    for turn_id in ("1", "2", "3", "4"):
        check.turn_sent("c", turn_id, 0.0)
    merged = [
        reply(n).model_copy(update={"outcome": "merged", "merged_into": into}) for n, into in (("1", "2"), ("3", "4"))
    ]
    for said in (merged[0], reply("2"), merged[1]):
        check.reply_read(said, encode(said), 1.0)
    assert check.verdict().lost == 2, "the fourth, and the third with it"
    answer = reply("4")
    check.reply_read(answer, encode(answer), 1.0)
    verdict = check.verdict()
    assert verdict.kept
    assert (verdict.answered, verdict.other_outcomes) == (2, 2)


def test_the_demos_sale_climbs_forty_times() -> None:
    traffic = _SALE.traffic.traffic()
    assert (traffic.rate(0), traffic.rate(19)) == (5, 200)
    visits = list(_SALE.visitors().visits(traffic))
    assert 2_400 < len(visits) < 3_300
    assert len({visit.conversation_id for visit in visits}) == 200
    assert [visit.at for visit in visits] == sorted(visit.at for visit in visits)
    assert visits == list(Customers(conversations=200, users=20).visits(traffic))


def test_control_characters_never_reach_the_terminal() -> None:
    assert printable("a\x1b[31mb\x07\u202e\n\t你好") == "a\ufffd[31mb\ufffd\ufffd\n\t你好"
