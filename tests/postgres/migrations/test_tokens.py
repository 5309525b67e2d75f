"""Migrations in what a token means, there and back: nobody ever sees more than at the wider of both ends."""

from __future__ import annotations

import pytest

from tests.postgres.migrations import class_roles, tokens
from tests.postgres.migrations.migration import Migration
from tests.postgres.migrations.ways import there_and_back
from tests.postgres.scratch import Scratch

pytestmark = pytest.mark.postgres

CASES = (*tokens.CASES, *class_roles.CASES)


def test_there_and_back(case: Migration, case_scratch: Scratch, record_property):
    """The same end whichever way, and the first state on the way back."""
    record_property("reads", there_and_back(case, case_scratch))
