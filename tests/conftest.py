"""What holds for every test: no deadlines on shared machines, the same examples each time, one thread."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded
os.environ.setdefault("BEQUEST_PDFS", "0")  # a fifth of a second a chart, in each of many reports

import hypothesis
import torch

hypothesis.settings.register_profile("bequest", deadline=None, derandomize=True)
hypothesis.settings.load_profile("bequest")
torch.set_num_threads(1)  # the networks of tests are too small for two, and so are the machines
