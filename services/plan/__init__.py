"""The capacity plan: from studies a day to partitions, processes, GPUs and storage. Pure; docs/capacity.md shows it for 1,000, 10,000 and 100,000."""

from services.plan.constants import CONSTANTS, Constant
from services.plan.model import Ceiling, Demand, Line, Plan, plan

__all__ = ["CONSTANTS", "Ceiling", "Constant", "Demand", "Line", "Plan", "plan"]
