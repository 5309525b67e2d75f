"""Tests that impersonate tokens in a real PostgreSQL: cases and unlisted cells, tried and judged.

suite (what a cases file says) -> token, clients (who acts) -> stage, session (inside one transaction that is rolled
back) -> observe, trials (what happened) -> verdict, cells (what that means) -> run, project (all of it).
"""
