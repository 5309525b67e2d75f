"""A matrix: what each kind of token may do with each table, seen in a real PostgreSQL and held against the policy file.

The policy file alone says which tokens there are, which rows are worth making, and what must come of them.
"""

from mcp_rls.harness.matrix.result import Cell, Finding, Hostile, Matrix, Verdict
from mcp_rls.harness.matrix.run import Options, run_matrix

__all__ = ["Cell", "Finding", "Hostile", "Matrix", "Options", "Verdict", "run_matrix"]
