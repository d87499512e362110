"""Makes tests/supernet/tiny.py importable: the space and images that these tests share."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "supernet"))
