"""A sale in a box: traffic, customers, faults, workers that come and go as KEDA would have them, and a report."""

from .outcome import Outcome
from .run import SaleError, rehearse
from .scenario import Scenario, ScenarioError, read_scenario

__all__ = ["Outcome", "SaleError", "Scenario", "ScenarioError", "read_scenario", "rehearse"]
