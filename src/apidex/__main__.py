"""`python -m apidex` is `apidex`."""

import sys

from apidex.cli import main

sys.exit(main())
