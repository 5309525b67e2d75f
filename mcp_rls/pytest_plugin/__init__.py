"""pytest: the fixtures `rls_server` and `rls`, and cases files as test items. All that pytest looks for is named here.

Until a fixture is used or an item runs, no database driver is imported and no server started.
"""

from mcp_rls.pytest_plugin.collection import pytest_collect_file
from mcp_rls.pytest_plugin.fixtures import rls, rls_server
from mcp_rls.pytest_plugin.options import pytest_addoption, pytest_configure, pytest_report_header
from mcp_rls.pytest_plugin.reports import pytest_sessionfinish, pytest_terminal_summary, pytest_testnodedown
from mcp_rls.pytest_plugin.servers import pytest_unconfigure

__all__ = [
    "pytest_addoption",
    "pytest_collect_file",
    "pytest_configure",
    "pytest_report_header",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "pytest_testnodedown",
    "pytest_unconfigure",
    "rls",
    "rls_server",
]
