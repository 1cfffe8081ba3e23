"""Toy networks are fastest on one thread; two pytest workers then share two cores without waiting for each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
