"""Let the tests of this folder import the helpers beside them, and keep torch to one thread."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

# The models here are tiny: a second thread only waits, and on a busy machine it waits long.
torch.set_num_threads(1)
