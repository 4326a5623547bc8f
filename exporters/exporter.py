"""The exporter: a model's graph, known once, from which any number of versions are written."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from torch import nn

from exportweb.card import Card, Precision, Source
from exportweb.errors import ExportError
from exportweb.exporters import frameworks, half, proof, provenance
from exportweb.exporters.beside import Beside
from exportweb.exporters.onnx_graph import Graph
from exportweb.exporters.script_graph import ScriptGraph
from exportweb.exporters.state import matters
from exportweb.exporters.traced import Traced
from exportweb.exporters.unwrap import unwrap
from exportweb.exporters.weights import Snapshot, Weights

log = logging.getLogger("exportweb")


class Exporter:
    """Writes versions of one model.

    The graph is traced and proved when the exporter is made, and again when weights have changed their names, shapes or dtypes, or a
    plain attribute of a module has changed the model's answers.
    Raises `ExportError` if the model can't be exported.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        name: str | None = None,
        task: str | None = None,
        labels: Sequence[str] | None = None,
        hints: frameworks.Hints | None = None,
        precision: str = "fp32",
    ) -> None:
        self.fp16 = half.wanted(precision)
        self.model = unwrap(model)
        self.hints = hints or frameworks.Hints()
        self.description = frameworks.describe(self.model, self.hints)
        if task not in (None, self.description.task):
            raise ExportError(
                f"task={task!r} is not what exportweb exports {self.description.architecture} for; that is {self.description.task!r}."
            )
        if self.fp16 and self.description.task != "image-classification":
            raise ExportError(f"precision='fp16' is for classifiers; {self.description.architecture} is exported with precision='fp32'.")
        self.name = name or self.description.architecture
        self.labels = None if labels is None else tuple(map(str, labels))
        self.weights = Weights(self.model)
        self.beside = Beside()
        self.graph = self._trace()
        if self.labels is not None and len(self.labels) != self.graph.classes:
            raise ExportError(f"labels has {len(self.labels)} names, but the model tells {self.graph.classes} classes apart.")
        self.packages = provenance.packages((*self.description.packages, "onnx", "onnxscript", "onnxruntime", "pillow"))
        self.commit = provenance.commit()

    def watch(self, model: nn.Module) -> None:
        """Write versions of another copy of the model from now on."""
        self.model = unwrap(model)
        self.weights = Weights(self.model)

    def current_graph(self) -> Traced:
        """Return the graph for the model as it is now, traced again where the old one no longer holds."""
        self.weights = self.weights.refreshed()
        if self.weights.layout() != self.graph.layout:
            log.info("exportweb: the model has changed its weights' names or shapes; exporting its graph again")
            self.graph = self._trace()
        elif self.graph.whole is not None:
            old, self.graph = self.graph, type(self.graph)(self.model, self.weights, self.description, self.beside)
            self.graph.whole, self.graph.fallback = old.whole, old.fallback
            self._to_half(self.graph, Snapshot(self.weights))
        elif (changed := self.graph.state.changed(self.weights)) and matters(self.model, self.graph, changed):
            names = ", ".join(sorted(f"{path}.{name}".strip(".") or "its class" for path, name in changed))
            log.warning("exportweb: %s changed and the model's answers with it; exporting its graph again, which takes seconds", names)
            self.graph = self._trace()
        return self.graph

    def card(self, graph: Traced, *, epoch: int | None = None, step: int | None = None, metrics: Mapping[str, float] | None = None) -> Card:
        """Return the card of a version of `graph`, without its golden sample."""
        return Card(
            name=self.name,
            task=self.description.task,
            input=self.description.input,
            outputs=self.description.outputs,
            labels=self._labels(graph.classes),
            source=Source(
                framework=self.description.framework,
                model=self.description.architecture,
                created=provenance.now(),
                epoch=epoch,
                step=step,
                metrics=dict(metrics or {}),
                packages=self.packages,
                git=self.commit,
            ),
            fallback=graph.fallback,
            precision=Precision(name="fp16") if self.fp16 else None,
        ).replace(**self.description.card)

    def write(
        self, file: BinaryIO, *, epoch: int | None = None, step: int | None = None, metrics: Mapping[str, float] | None = None
    ) -> Card:
        """Write a version of the model as it is now, as `Traced.write` does; return its card."""
        graph, snapshot = self.current_graph(), Snapshot(self.weights)
        snapshot.take(self.weights)
        return graph.write(file, snapshot, self.card(graph, epoch=epoch, step=step, metrics=metrics))

    def _trace(self) -> Traced:
        """Trace the model as ONNX, or as TorchScript where that alone answers and is refreshed as it should be."""
        snapshot = Snapshot(self.weights)
        if not self.description.fallback:
            graph: Traced = self._proved(Graph, snapshot)
        else:
            graph = self._proved_or_script(snapshot)
        if graph.fallback is not None:
            log.warning("exportweb: %s becomes TorchScript, which only PyTorch runs: %s", self.name, graph.fallback)
        if graph.whole is not None:
            log.warning(
                "exportweb: %s is exported whole for each version, which takes seconds of the training loop's time: %s",
                self.name,
                graph.whole,
            )
        self._to_half(graph, snapshot)
        return graph

    def _proved(self, kind: type[Traced], snapshot: Snapshot) -> Traced:
        """Trace, and find out whether new weights can be put in; `snapshot` is memory for them."""
        graph = kind(self.model, self.weights, self.description, self.beside)
        snapshot.take(self.weights)
        graph.whole = proof.disprove(graph, snapshot)
        if isinstance(graph, Graph) and graph.whole is None:
            graph.shrink(snapshot)
        return graph

    def _proved_or_script(self, snapshot: Snapshot) -> Traced:
        graph = None
        try:
            graph = self._proved(Graph, snapshot)
            if (reason := graph.whole) is None:
                return graph
            script = self._proved(ScriptGraph, snapshot)
        except ExportError as error:
            if graph is not None:  # what has no TorchScript, either, stays what it is
                return graph
            reason, script = str(error), self._proved(ScriptGraph, snapshot)
        if graph is not None and script.whole is not None:
            return graph
        script.fallback = reason
        return script

    def _to_half(self, graph: Traced, snapshot: Snapshot) -> None:
        """If it is to be float16, convert a graph, once it is proved, with the weights as they are; `snapshot` is memory for them."""
        if self.fp16 and isinstance(graph, Graph):
            snapshot.take(self.weights)
            snapshot.wait()
            graph.to_half(snapshot)

    def _labels(self, classes: int) -> tuple[str, ...]:
        for labels in (self.labels, self.description.labels):
            if labels is not None and len(labels) == classes:
                return labels
        if self.labels is not None:
            log.warning("exportweb: the model now has %d classes, but %d labels were given; numbering them", classes, len(self.labels))
        return tuple(f"class_{i}" for i in range(classes))


def default_name(model: nn.Module) -> str:
    """Return what a model is called when nobody says: its architecture, as its framework names it, or its class."""
    inner = unwrap(model)
    return frameworks.adapter(inner).architecture(inner)
