"""nginx, or a test that is skipped."""

import pytest
from loadtest.system import UnsupportedError

from loadtest import nginx


def nginx_command(*arguments, **options) -> list[str]:
    """As `loadtest.nginx.command`."""
    try:
        return nginx.command(*arguments, **options)
    except UnsupportedError as error:
        pytest.skip(str(error))
