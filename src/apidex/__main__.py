"""`python -m apidex` is `apidex`."""

import sys

from apidex.cli.main import main

sys.exit(main())
