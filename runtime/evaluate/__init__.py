"""Evaluation: what is served, asked about a data set whose answers are known. One module for each form of data, and for each metric."""

from __future__ import annotations

from exportweb.runtime.evaluate.evaluation import Against, Evaluation, Other, evaluate
from exportweb.runtime.evaluate.kinds import Kind, kind_of
from exportweb.runtime.evaluate.pipeline import Pipeline
from exportweb.runtime.evaluate.sets import open_data

__all__ = ["Against", "Evaluation", "Kind", "Other", "Pipeline", "evaluate", "kind_of", "open_data"]
