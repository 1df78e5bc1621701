"""ONNX models, which onnxruntime computes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import onnxruntime

from loopwright.api import model as api
from loopwright.serving.errors import CannotServe, Refused
from loopwright.serving.settings import Settings
from loopwright.serving.signature import Signature
from loopwright.serving.tensors import FROM_ONNX, Array, Tensor

# onnxruntime's own words for inputs that a model cannot take, such as an index out of bounds.
_INPUT_ERRORS: Final = ("INVALID_ARGUMENT", "out of bounds", "out of range")

_NO_FILE: Final = {" ": b" "}


@dataclass(frozen=True)
class OnnxEngine:
    """A session of onnxruntime."""

    session: Any
    platform: str = "onnxruntime_onnxv1"

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Predicts."""
        try:
            found: list[Array] = self.session.run(outputs, inputs)
        except Exception as error:
            text = " ".join(str(error).split())
            if any(words in text for words in _INPUT_ERRORS):
                raise Refused(f"the model cannot take these inputs: {text}"[:1000]) from error
            raise
        return found


def load(
    settings: Settings,
    content: bytes,
    others: Mapping[str, bytes],
    signature: api.Signature | None,
) -> tuple[OnnxEngine, Signature]:
    """An ONNX file and the files of weights beside it, and what it takes and gives.

    Args:
        others: Contents by path.
        signature: What model.json says; the file's own without it.

    Raises:
        CannotServe: it cannot be served.
    """
    session = _session(settings, content, others)
    own = _own(session, settings.allow_missing)
    told = own if signature is None else _told(signature, own, settings.allow_missing)
    return OnnxEngine(session), told


def _session(settings: Settings, content: bytes, others: Mapping[str, bytes]) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.intra_op_threads
    options.inter_op_num_threads = 1
    # Threads that wait by spinning eat the CPU quota that the others need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    # Never empty: without this table onnxruntime reads weights from whatever files of this machine
    # the model names.
    table = {**_NO_FILE, **others}
    options.add_external_initializers_from_files_in_memory(
        list(table), list(table.values()), [len(one) for one in table.values()]
    )
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise CannotServe(
            "ModelInvalid",
            f"onnxruntime {onnxruntime.__version__} cannot load it: {error}; export it with an"
            " opset that this version knows",
        ) from error


def _own(session: Any, missing: bool) -> Signature:
    return Signature(
        _tensors("input", session.get_inputs(), missing), _tensors("output", session.get_outputs())
    )


def _tensors(what: str, nodes: Iterable[Any], missing: bool = False) -> dict[str, Tensor]:
    found = {}
    for node in nodes:
        if node.type not in FROM_ONNX:
            raise CannotServe(
                "FormatUnsupported",
                f"{what} {node.name} is a {node.type}, and only plain tensors are served; convert"
                " scikit-learn models with options={'zipmap': False}",
            )
        # A dimension that has a name, or nothing, may have any size.
        shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
        found[node.name] = Tensor(node.name, FROM_ONNX[node.type], shape, missing)
    return found


def _told(signature: api.Signature, own: Signature, missing: bool) -> Signature:
    """The signature of model.json, which may be narrower than the file's, but must agree."""
    inputs = _agreeing("input", signature.inputs, own.inputs, missing)
    outputs = _agreeing("output", signature.outputs, own.outputs)
    if inputs.keys() != own.inputs.keys():
        raise CannotServe("ModelInvalid", f"the file's inputs are {own}, not those of model.json")
    return Signature(inputs, outputs)


def _agreeing(
    what: str, told: Iterable[api.TensorSpec], own: Mapping[str, Tensor], missing: bool = False
) -> dict[str, Tensor]:
    found = {}
    for spec in told:
        tensor = Tensor(spec.name, spec.dtype, tuple(spec.shape), missing)
        known = own.get(spec.name)
        # Exporters often do not know the shape of an output.
        ranks = what == "input" and known is not None and len(known.shape) != len(spec.shape)
        if known is None or known.dtype != spec.dtype or ranks:
            raise CannotServe(
                "ModelInvalid",
                f"model.json says that {what} {spec.name} is {spec.dtype} of shape {spec.shape}; in"
                f" the file it is {known or 'absent'}; save the model again",
            )
        found[spec.name] = tensor
    return found
