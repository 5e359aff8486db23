"""What ``forebay plan`` prints, writes and refuses."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from forebay.cli.command_line import app
from forebay.operations.planning.kustomize import values
from forebay.operations.planning.quota import allowed, quotas
from forebay.operations.planning.sale_options import expected_of
from forebay.operations.planning.sizing import FleetSize

OVERLAYS = Path(__file__).parents[2] / "k8s" / "overlays"
QUICK = ("plan", "--peak", "40/s", "--climb", "20s", "--hold", "1m")


def ran(*words: str) -> Result:
    result = CliRunner().invoke(app, words, env={"COLUMNS": "80", "FOREBAY_CATALOGUE": None})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_peak_alone_is_enough_and_the_verdict_comes_first() -> None:
    result = ran("plan", "--peak", "10/s")
    assert result.exit_code == 0, result.output
    first, second = result.output.splitlines()[:2]
    assert re.fullmatch(r"\d+ pods of 50 calls, \d+ partitions; begin \d+ minutes before", first)
    assert re.fullmatch(r"breaks first: pods, at [\d,]+ turns/s \(10 expected\)", second)


def test_it_fits_a_terminal_of_eighty_columns() -> None:
    result = ran(
        *QUICK,
        *("--rpm", "1200", "--tpm", "20M", "--budget", "50", "--conversations", "500", "--faq", "0.1"),
        *("--model", "claude-haiku-5-5=0.7", "--model", "claude-sonnet-5-5=0.3"),
        *("--opens", "2026-11-27 00:00", "--timezone", "Asia/Shanghai"),
    )
    assert max(map(len, result.output.splitlines())) <= 80
    for said in (
        "breaks first: budget, at",
        "pre-scale",
        "2026-11-26 23:58 on, Asia/Shanghai",
        "autoscaler alone",
        "pods there before it",
        "requests a minute of claude-haiku-5-5",
        "- Ask the provider of claude-haiku-5-5",
        "pre_scale_start      58 23 26 11 *",
    ):
        assert said in result.output


def test_json_has_stable_names(tmp_path: Path) -> None:
    result = ran(*QUICK, "--rpm", "12k", "--tpm", "20M", "--json", "--kustomize", str(tmp_path / "plan.yaml"))
    data = json.loads(result.output)
    assert data.keys() == {
        *("peak_turns_per_s", "holds", "breaks_first", "breaks_at_turns_per_s", "service_mean_s", "service_scv"),
        *("calls_at_once_needed", "pods", "min_pods", "max_pods", "concurrency", "partitions", "pre_scale_s"),
        *("steady_wait_s", "simulated_hold_s", "autoscaler_alone", "pre_scaled", "quotas", "money", "bounds"),
        *("advice", "kustomize"),
    }
    assert data["pre_scaled"].keys() == {
        *("waiting_p50_s", "waiting_p99_s", "waiting_max_s", "peak_waiting", "peak_waiting_after_s"),
        *("drained_after_s", "expired", "called_again", "peak_pods", "peak_in_flight", "rebalances"),
    }
    assert data["money"].keys() == {
        *("usd_a_turn", "sale_turns", "sale_usd", "day_turns", "day_usd", "sale_usd_by_model")
    }
    assert data["quotas"][0]["rpm_needed"] == pytest.approx(2_640)
    assert data["quotas"][0]["rpm_given"] == 12_000
    assert data["breaks_first"] == data["bounds"][0]["resource"]
    assert data["kustomize"] == yaml.safe_load((tmp_path / "plan.yaml").read_text())["data"]


def test_where_the_values_went_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["forebay", "plan", "--peak", "9/s"])
    result = ran(*QUICK, "--kustomize", str(tmp_path / "plan.yaml"))
    assert f"kustomize values written to {tmp_path}/plan.yaml" in result.output.replace("\n", "")
    assert (tmp_path / "plan.yaml").read_text().startswith("# forebay plan --peak 9/s\n")


def test_the_partitions_of_a_plan_that_is_there_stay(tmp_path: Path) -> None:
    """Strimzi adds partitions to a topic when the number grows, which breaks the order of conversations."""
    file = tmp_path / "plan.yaml"
    ran(*QUICK, "--partitions", "60", "--kustomize", str(file))
    ran(*QUICK, "--kustomize", str(file))
    assert yaml.safe_load(file.read_text())["data"]["partitions"] == "60"
    refused = ran(*QUICK, "--partitions", "61", "--kustomize", str(file))
    assert refused.exit_code == 2
    assert "has 60, and a topic never gets others" in " ".join(refused.output.replace("│", " ").split())
    file.write_text("mine")
    assert ran(*QUICK, "--kustomize", str(file)).exit_code == 2
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--peak", "many"], "--peak 'many': 'many' is no rate such as 200/s or 12000/m: write a rate such as"),
        (["--peak", "0/s"], "peak is more than 0, not 0"),
        (["--peak", "9/s", "--calm", "10/s"], "the calm rate (10/s) is above the peak (9/s)"),
        (["--peak", "9/s", "--latency", "p50=3"], "--latency 'p50=3': write p50=3,p99=20"),
        (["--peak", "9/s", "--latency", "p50=20,p99=3"], "p99 (3 s) is not less than p50 (20 s): give p50 first"),
        (["--peak", "9/s", "--latency", "p50=x,p99=3"], "'x' is no duration such as 90s"),
        (["--peak", "9/s", "--tokens", "in=900"], "write in=900,out=120"),
        (["--peak", "9/s", "--tokens", "in=0,out=0"], "a turn has some in or out"),
        (["--peak", "9/s", "--rpm", "lots"], "--rpm 'lots': write a number such as 12000, 12k or 20M"),
        (["--peak", "9/s", "--rpm", "0"], "rpm is more than 0, not 0"),
        (["--peak", "9/s", "--wait", "5"], "write a percentile and a time, such as p99=5 or p95=2s"),
        (["--peak", "9/s", "--wait", "p10=5"], "wait is a percentile from p50 to p99.99, not p10"),
        (["--peak", "9/s", "--hold", "long"], "--hold 'long': 'long' is no duration"),
        (["--peak", "9/s", "--faq", "1"], "faq is a share from 0 to below 1, not 1"),
        (["--peak", "9/s", "--concurrency", "0"], "concurrency is 1 to 10,000 calls, not 0"),
        (["--peak", "9/s", "--model", "a", "--model", "b"], "write NAME=SHARE for each of several models"),
        (["--peak", "9/s", "--model", "a=0.5", "--model", "b=0.4"], "the models' shares are above 0, and 1 in all"),
        (["--peak", "9/s", "--opens", "soon"], "write the local time of --timezone, such as '2026-11-27 00:00'"),
        (["--peak", "9/s", "--opens", "2026-11-27T00:00Z"], "write the local time without an offset"),
        (["--peak", "9/s", "--timezone", "Mars"], "is no time zone that this machine knows"),
        (["--peak", "9/s", "--timezone", "/etc"], "is no time zone that this machine knows"),
        (["--peak", "9/s", "--pod-start", "0"], "pod start is more than 0, not 0"),
        (["--peak", "900/s", "--partitions", "12"], "pods are needed and a topic of 12 partitions serves no more"),
        ([], "Missing option '--peak'"),
    ],
)
def test_each_mistake_is_one_clear_line(words: list[str], said: str) -> None:
    result = ran("plan", *words)
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output
    assert len([line for line in result.output.splitlines() if line.startswith("Error: ")]) == 1


def test_an_unknown_model_is_said_with_those_near_it() -> None:
    from forebay.schemas import SettingsError

    with pytest.raises(SettingsError, match=r"'claude-haiku-9' .* is not in the catalogue. Near: claude-haiku"):
        ran("plan", "--peak", "9/s", "--model", "claude-haiku-9")


@pytest.mark.parametrize("overlay", sorted(file.parent.name for file in OVERLAYS.glob("*/plan.yaml")))
def test_a_committed_overlay_is_what_its_command_makes(overlay: str) -> None:
    written = (OVERLAYS / overlay / "plan.yaml").read_text()
    command, *words = shlex.split(written.splitlines()[0].removeprefix("# "))
    assert (command, words[0]) == ("forebay", "plan")
    expected = expected_of(_options(words[1:]))
    fleet = FleetSize.of(expected, allowed(expected, quotas(expected)))
    assert yaml.safe_load(written)["data"] == values(expected, fleet)


def _options(words: list[str]) -> dict[str, Any]:
    """As the command line would read them."""
    from typer.main import get_command

    command = get_command(app).commands["plan"]  # type: ignore[attr-defined]
    given: dict[str, Any] = command.make_context("plan", words).params
    return {name: value for name, value in given.items() if name not in ("json", "kustomize") and value not in ([], ())}


def test_clocks_that_change_before_the_opening(tmp_path: Path) -> None:
    """Berlin has no time between 2 and 3 on that day: what begins two minutes before 3 begins at 1:58."""
    file = tmp_path / "plan.yaml"
    ran(*QUICK, "--opens", "2026-03-29 03:00", "--timezone", "Europe/Berlin", "--kustomize", str(file))
    assert re.match(r"5\d 1 29 3 \*", yaml.safe_load(file.read_text())["data"]["pre_scale_start"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("--opens", "2026-03-29 02:30", "--timezone", "Europe/Berlin"),
            "is no time that clocks show in Europe/Berlin",
        ),
        (("--opens", "9999-12-31 23:59"), "is no time that clocks show in UTC"),
        (("--climb", "100d"), "climb is 7,200 at most"),
        (("--pod-start", "10d"), "pod start is 3,600 at most"),
        (("--partitions", "100000000"), "partitions is 20,000 at most"),
        (("--speed", "0.000001"), "speed is 1 at least"),
    ],
)
def test_what_would_never_be_simulated_to_its_end(words: tuple[str, ...], says: str) -> None:
    refused = ran("plan", "--peak", "200/s", *words)
    assert refused.exit_code == 2
    assert says in " ".join(refused.output.replace("│", " ").split())
