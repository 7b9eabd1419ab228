"""Set the version everywhere, or check that it is the same everywhere: `tox run -e version -- 0.3.0`, `tox run -e version`.

The version stands in `apidex.__version__`, and again only where a tool cannot read that: image tags, the image's label, and the
changelog's unreleased section.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = (
    "src/apidex/__init__.py",
    "CHANGELOG.md",
    "Dockerfile",
    "README.md",
    "deploy/**/*",
    "docs/**/*.md",
    "docs/openapi.json",
    "loadtest/**/*",
)
VERSION = re.compile(
    r'(__version__ = "|"version": "|VERSION=|apidex(?:-\w+)?:|apidex(?:-\w+)?, newTag: |## (?=\S+ \(unreleased\)))'
    r"(\d+\.\d+\.\d+(?:[-.\w]*\w)?)"
)


def main(wanted: str = "") -> int:
    """Write *wanted* to each place, if given, and print each place with its version. Return 1 if the places disagree."""
    found = set()
    for path in sorted(path for pattern in FILES for path in ROOT.glob(pattern)):
        if path.is_dir() or path.suffix == ".pyc":
            continue
        text = path.read_text()
        if wanted and VERSION.search(text):
            text = VERSION.sub(rf"\g<1>{wanted}", text)
            path.write_text(text)
        for prefix, version in VERSION.findall(text):
            found.add(version)
            print(f"{path.relative_to(ROOT)}: {prefix}{version}")
    return int(len(found) != 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
