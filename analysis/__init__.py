"""From tables to numbers: audits of a run's books, critical paths of its requests."""

from analysis.audit import audit, audit_tables
from analysis.critical_path import BrokenPathError, Span, critical_path, latency_breakdown

__all__ = ["BrokenPathError", "Span", "audit", "audit_tables", "critical_path", "latency_breakdown"]
