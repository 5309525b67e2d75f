"""`python -m mcp_rls`: the same as the command `mcp-rls`."""

import sys

from mcp_rls.cli import main

if __name__ == "__main__":
    sys.exit(main())
