"""What a rehearsal decides and counts: its scenario, its queue, its targets, its figures and its report."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from forebay.rehearsal.chaos.schedule import EventKind
from forebay.rehearsal.delivery_check import Answer, Verdict
from forebay.rehearsal.sale.comparison import variants
from forebay.rehearsal.sale.figure import FIGURES, shown
from forebay.rehearsal.sale.figures import SaleFigures
from forebay.rehearsal.sale.large_model import one_large_model
from forebay.rehearsal.sale.observations import Happening, Observations, SaleSample
from forebay.rehearsal.sale.prediction import predict
from forebay.rehearsal.sale.result import RehearsalResult, SaleResult
from forebay.rehearsal.sale.sale_report import report
from forebay.rehearsal.sale.scenario import Scenario, ScenarioError
from forebay.rehearsal.sale.scenario_file import read_scenario
from forebay.rehearsal.sale.screen import SaleState, screen
from forebay.rehearsal.sale.summary import summary
from forebay.rehearsal.sale.targets import bound, judge
from forebay.rehearsal.sale.waiting_curve import Capacity, WaitingCurve, drain_ratio, ideal, lost_throughput_s
from forebay.schemas import Usage
from forebay.workers.assistants.loading import load_assistant

moments = st.lists(st.floats(min_value=0, max_value=100), min_size=1, max_size=60).map(sorted)


def test_a_queue_rises_peaks_and_drains() -> None:
    queue = WaitingCurve.of([0, 1, 2, 3, 4], [0.5, 10, 11, 12, 13])
    assert (queue.peak, queue.at(4.5), queue.at(10.5)) == (4, 4, 3)
    assert queue.rose_at == 1
    assert queue.drained_at == 12, "one that waits for its conversation is no queue"


def test_what_never_began_waits_to_the_end() -> None:
    queue = WaitingCurve.of([0, 1, 2, 3], [0.5])
    assert queue.peak == 3
    assert queue.drained_at is None
    assert WaitingCurve.of([], []).drained_at is None


@given(moments, st.integers(1, 5))
def test_with_one_time_for_all_the_ideal_queue_is_a_line_at_a_counter(sent: list[float], servers: int) -> None:
    queue = ideal(sent, [1.0] * len(sent), [Capacity(0.0, servers)])
    free = [0.0] * servers
    began = []
    for at in sent:
        first = min(range(servers), key=free.__getitem__)
        began.append(max(at, free[first]))
        free[first] = began[-1] + 1.0
    assert queue == WaitingCurve.of(sent, began)


@given(moments, st.lists(st.tuples(st.floats(0, 100), st.integers(0, 6)), max_size=6))
def test_more_servers_never_make_the_ideal_queue_longer(sent: list[float], changes: list[tuple[float, int]]) -> None:
    few = [Capacity(0.0, 1), *(Capacity(at, 1 + servers) for at, servers in sorted(changes))]
    more = [capacity._replace(servers=capacity.servers + 2) for capacity in few]
    service = [1.0 + number % 3 for number in range(len(sent))]
    assert ideal(sent, service, more).peak <= ideal(sent, service, few).peak


def test_servers_that_come_and_go_are_counted() -> None:
    sent = [0.0] * 6
    queue = ideal(sent, [10.0] * 6, [Capacity(0, 2), Capacity(5, 4), Capacity(8, 1)])
    # Two begin at 0 and two at 5; of the four, three go when they are done, so the last two begin one after the other.
    assert queue == WaitingCurve.of(sent, [0, 0, 5, 5, 15, 25])


def test_the_ratio_is_of_the_time_that_the_queue_was_there() -> None:
    sent = [float(n) / 10 for n in range(100)]
    best = ideal(sent, [1.0] * 100, [Capacity(0.0, 5)])
    assert drain_ratio(best, best, 5) == 1
    late = WaitingCurve(tuple(at * 1.1 for at in best.times), best.waiting)
    assert drain_ratio(late, best, 5) == pytest.approx(1.1, abs=0.03)
    assert drain_ratio(WaitingCurve.of([0, 0], []), best, 5) is None
    assert drain_ratio(late, best, 500) is None, "a handful that waits is no queue"


def test_throughput_lost_is_the_deepest_shortfall() -> None:
    steady = [n / 10 for n in range(400)]  # ten a second
    assert lost_throughput_s(steady, 20.0, before_s=5, after_s=10) == pytest.approx(0.1, abs=0.11)
    halted = [at for at in steady if not 20 < at < 22]
    assert lost_throughput_s(halted, 20.0, before_s=5, after_s=10) == pytest.approx(2.0, abs=0.2)
    made_up = sorted([*halted, *(22 + n / 20 for n in range(40))])
    assert lost_throughput_s(made_up, 20.0, before_s=5, after_s=10) == pytest.approx(2.0, abs=0.2), (
        "it was lost meanwhile"
    )
    assert lost_throughput_s([], 20.0, before_s=5, after_s=10) == 0


def test_targets() -> None:
    assert [str(bound(said)) for said in (5, "5", "<= 5", ">=0.99")] == ["<= 5", "<= 5", "<= 5", ">= 0.99"]
    judged = {
        each.name: each.met
        for each in judge(
            {
                "lost": 0,
                "out_of_order": 0,
                "duplicates": 0,
                "forgotten": 1,
                "latency_p99_s": 4.0,
                "success_share": 0.98,
            },
            {"latency_p99_s": bound(5), "success_share": bound(">= 0.99"), "drain_ratio": bound(1.05)},
        )
    }
    assert judged == {
        "lost": True,
        "out_of_order": True,
        "duplicates": True,
        "forgotten": False,
        "latency_p99_s": True,
        "success_share": False,
        "drain_ratio": False,  # it could not be measured
    }


def test_a_file_and_options_make_a_scenario(tmp_path: Path) -> None:
    file = tmp_path / "sale.yaml"
    file.write_text(
        """
name: double eleven
speed: 10
traffic: {shape: spike, peak: 12000/m, climbs: 5m}
workers: {least: 2, most: 6, concurrency: 100}
faults:
  - {what: outage, at: 5m, lasts: 30s}
  - {what: sigkill, at: 2m, worker: 1}
targets: {latency_p99_s: 20, success_share: ">= 0.999"}
"""
    )
    scenario = read_scenario(file, traffic__calm="3/s", workers__most=8, speed=None)
    assert scenario.traffic.traffic().rate(0) == 3
    assert scenario.traffic.peak == 200
    assert (scenario.speed, scenario.workers.most, scenario.workers.scaling().lag_threshold) == (10, 8, 80)
    outage, killed = scenario.incidents()
    assert (outage.begins_at, outage.ends_at, outage.begins.kind) == (30, 33, EventKind.OUTAGE)
    assert outage.ends is not None
    assert outage.ends.kind is EventKind.OUTAGE_OVER
    assert (killed.begins_at, killed.begins.worker, killed.ends) == (12, 1, None)
    assert Scenario.model_validate(scenario.model_dump(mode="json")) == scenario


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("traffic: {shape: round}", "traffic.shape: Input should be 'spike'"),
        ("traffic: {peak: fast}", "traffic.peak: 'fast' is no rate"),
        ("trafic: {}", "trafic: Extra inputs"),
        ("traffic: {shape: recorded}", "traffic: recorded traffic needs the `topic`"),
        ("traffic: {shape: points, points: [[0, 5]]}", "traffic needs two points"),
        ("workers: {most: 20}", "least <= most <= partitions"),
        ("models: {latency: {p50: 3, p99: 1}}", "models.latency: p50 is above 0 and not above p99"),
        ("faults: [{what: outage_over, at: 1}]", "outage_over undoes something"),
        ("faults: [{what: outage, at: 1m}]", "outage needs how long it `lasts`"),
        ("faults: [{what: outage, at: 10h, lasts: 1m}]", "the sale is over by then"),
        ("faults: [{what: sigkill, at: 1m, worker: 9}]", "worker 9 of 4 at most"),
        ("workers: {settings: {FOREBAY_TTL: 5}}", "FOREBAY_TTL: no settings of a worker"),
        ("targets: {latency: 3}", "no figure is called latency"),
        ("targets: {lost: few}", "'few' is no target"),
        ("models: {real: true}\nfaults: [{what: outage, at: 1, lasts: 1}]", "a real provider takes no faults"),
        ("customers: {patience: {again_after: [30s, 10s]}}", "again_after is from the earliest to the latest"),
        ("customers: {when_busy: queue}", "customers.when_busy: Input should be 'enqueue'"),
        ("service: plain\nfaults: [{what: outage, at: 1, lasts: 1}]", "service: a plain one is for comparison"),
        ("- 1", "must have fields"),
        ("a: [", "is no YAML"),
    ],
)
def test_a_wrong_scenario_gets_one_clear_line(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "sale.yaml"
    file.write_text(text)
    with pytest.raises(ScenarioError) as raised:
        read_scenario(file)
    assert says in str(raised.value)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_scenario_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot be read: No such file"):
        read_scenario(tmp_path / "none.yaml")


def test_comparisons_change_one_thing() -> None:
    scenario = read_scenario(None)
    assert variants(scenario, None, "large") == [("", scenario)]
    assert [each.customers.streamed for _, each in variants(scenario, "streamed", "large")] == [False, True]
    (_, one), (_, routed) = variants(scenario, "routing", "claude-opus-5-5")
    assert one.workers.assistant == "forebay.rehearsal.sale.large_model:assistant"
    assert one.workers.settings["REHEARSAL_MODEL"] == "claude-opus-5-5"
    assert routed.workers.assistant == "forebay.rehearsal.shop.assistant:assistant"
    assert replace_workers(one) == replace_workers(routed)


def test_one_large_model_has_the_same_words_and_tools() -> None:
    routed = load_assistant("forebay.rehearsal.shop.assistant:assistant")
    one = one_large_model(routed, "claude-opus-5-5")
    assert (one.instructions, one.tools, one.hand_off) == (routed.instructions, routed.tools, routed.hand_off)
    assert (one.model, dict(one.models), one.faq) == ("claude-opus-5-5", {}, None)
    assert {each.model for each in one.specialists} == {None}
    assert [each.tools for each in one.specialists] == [each.tools for each in routed.specialists]


def replace_workers(scenario: Scenario) -> Scenario:
    return scenario.model_copy(update={"workers": None})


def test_every_figure_is_computed_and_explained() -> None:
    table = SaleResult(SaleFigures(outcome())).table()
    assert set(table) == set(FIGURES)
    assert (table["total"], table["succeeded"], table["failed"], table["lost"]) == (400, 398, 1, 1)
    assert table["cost_usd"] == pytest.approx(0.399)
    assert table["latency_p50_s"] == pytest.approx(1.5, abs=0.01)
    assert table["rebalances"] == 0
    assert table["first_word_p50_s"] == 0.2


@pytest.mark.takes(1)
def test_a_sale_is_predicted_only_as_far_as_it_is_simulated() -> None:
    said = predict(SaleFigures(outcome()))
    assert said is not None
    assert {each.name for each in said.compared} >= {"peak_waiting", "waited_p99_s", "total"}
    assert predict(SaleFigures(replace(outcome(), scenario=read_scenario(None, models__real=True)))) is None


def test_the_report_stands_alone_and_trusts_nobody() -> None:
    hostile = replace(outcome(), happenings=(Happening(1.0, "<script>alert(1)</script>"),))
    document = report(RehearsalResult([SaleResult(SaleFigures(hostile))], datetime(2026, 11, 27, tzinfo=UTC)))
    head = document.replace(document[document.index("<script>") : document.index("</script>")], "")
    assert "<script>alert(1)" not in document
    assert "&lt;script&gt;alert(1)" in document
    assert "src=" not in head
    assert "https://" not in head
    assert "1 of 4 targets missed: lost" in document


def test_the_screen_and_the_summary_fit_eighty_columns() -> None:
    console = Console(width=80, record=True, file=StringIO())
    moment = SaleState(
        12.5, 60, 201, 187.5, 1234, 190, 200, 9000, 7766, 0.9, 12.25, 17, 1.25, 3, 4, [0, 4, 900, 1234], 200
    )
    console.print(screen(moment, [(11.0, "worker-1 (pid 17) got SIGKILL")] * 9))
    console.print(summary(RehearsalResult([SaleResult(SaleFigures(outcome()))], datetime.now(UTC))))
    text = console.export_text()
    assert "12.5 of 60 s" in text
    assert "3 workers, 1 starting" in text
    assert "1 targets missed" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("total", 12_345, "12,345"),
        ("latency_p99_s", 4.3049, "4.3 s"),
        ("success_share", 0.9991, "99.91%"),
        ("cost_usd", 0.0123, "$0.0123"),
        ("cost_usd", 5.07, "$5.07"),
        ("drain_ratio", None, "-"),
        ("turns_a_second", 116.8, "117/s"),
    ],
)
def test_figures_are_written_as_people_read_them(name: str, value: float | None, text: str) -> None:
    assert shown(name, value) == text


def outcome() -> Observations:
    """400 turns, ten a second, each answered after 1.5 s; the last failed, and one has no reply."""
    sent_at = {f"t-{n}": n / 10 for n in range(400)}
    answers = tuple(
        Answer(turn_id, at, at + 0.5, at + 1.5, 0.9, "answered", "m", "simple", Usage(input_tokens=9), 0.001, 1)
        for turn_id, at in list(sent_at.items())[1:]
    )
    answers = (*answers[:-1], answers[-1]._replace(outcome="failed"))
    return Observations(
        scenario=read_scenario(None, traffic__shape="sustained", traffic__peak=10, traffic__holds=40, speed=1),
        traffic=read_scenario(None).traffic.traffic().faster(20),
        sent_at=sent_at,
        answers=answers,
        verdict=Verdict(400, 398, 1, lost=1, out_of_order=0, duplicates=0, repeats=0, forgotten=0),
        samples=(SaleSample(0.0, 5, 7, 1, 1, 0, 5, 0), SaleSample(10.0, 9, 7, 2, 1, 3, 100, 90)),
        capacity=(Capacity(0.0, 50),),
        happenings=(Happening(3.0, "outage"),),
        first_words_s={"t-1": 0.2},
        routes={"simple": 399},
        late_s=(0.001,),
        start_s=2.0,
        bad_ends=(),
        calls=402,
    )
