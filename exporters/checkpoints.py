"""Weights from files, into models that are made by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import nn

from exportweb.errors import ExportError


def load(path: Path) -> dict[str, torch.Tensor]:
    """Read weights as timm's own train.py, Lightning and plain `torch.save` write them, or safetensors; prefers averaged (EMA) ones.

    Nothing in the file is executed. Raises `ExportError` if there is no such file, or it holds something else.
    """
    from timm.models import load_state_dict

    try:
        state: dict[str, torch.Tensor] = load_state_dict(str(path), use_ema=True)
    except FileNotFoundError as error:
        raise ExportError(f"There is no checkpoint {path}.") from error
    except Exception as error:
        raise ExportError(
            f"{path} can't be read as weights ({type(error).__name__}). It should hold a state dict, as from "
            "torch.save(model.state_dict(), path), or a safetensors file."
        ) from error
    return state


def put(state: Mapping[str, torch.Tensor], model: nn.Module, *, name: str, path: Path | None) -> None:
    """Put weights, which came from `path`, into a model; raise `ExportError` if they don't fit it."""
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ExportError(f"{path} doesn't fit {name}: {' '.join(str(error).split())[:400]}") from error


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question, with a space before it, about the known names that look like this one; nothing if none do."""
    near = difflib.get_close_matches(name, list(known), n=3)
    return f" Did you mean {' or '.join(near)}?" if near else ""
