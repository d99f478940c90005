"""Lets the tests import what writes their atlases."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
