"""What `import mcp_rls` gives."""

from __future__ import annotations

import subprocess
import sys

import mcp_rls


def test_every_public_name_is_there():
    """Each is what its home module calls so."""
    for name in mcp_rls.__all__:
        assert getattr(mcp_rls, name) is not None, name
        assert name in dir(mcp_rls)
    assert mcp_rls.__version__.count(".") >= 2


def test_importing_the_package_loads_nothing():
    """Names are loaded when they are used."""
    code = "import sys, mcp_rls; print(sorted(m for m in sys.modules if m.startswith('mcp_rls.')))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
