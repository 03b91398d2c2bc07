"""`python -m seakernel`: the package's command line."""

from __future__ import annotations

import sys

from seakernel.command import main

if __name__ == "__main__":
    sys.exit(main())
