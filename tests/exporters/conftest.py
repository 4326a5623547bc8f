from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from exportweb.exporters.exporter import Exporter
from exportweb.exporters.frameworks import Hints
from models import LABELS, Tiny, example


@pytest.fixture
def model():
    """A small classifier in training mode, from the same random weights each time."""
    torch.manual_seed(0)
    return Tiny()


@pytest.fixture(scope="session")
def exporter():
    """An exporter of such a classifier, traced once for all tests that only read it."""
    torch.manual_seed(0)
    return Exporter(Tiny(), labels=LABELS, hints=Hints(example()))
