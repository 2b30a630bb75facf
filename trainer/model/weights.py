"""The backbone's ImageNet weights: the file's hash is checked, and it is read without executing pickles."""

from __future__ import annotations

import collections
import pickle
import types
import zipfile
from pathlib import Path
from typing import Any

import torch

from trainer.errors import WeightsError, first_line
from trainer.model.backbone_file import check_backbone


def load_backbone(body: torch.nn.Module, path: Path, digits: str) -> None:
    """Load a torchvision ResNet-50 state_dict into `body`; the classifier, which a detector lacks, is left out.

    Raises WeightsError when the file is missing, its SHA-256 does not begin with `digits`, it is no plain state_dict,
    or its tensors are not the ones that `body` needs.
    """
    check_backbone(path, digits)
    state = {k: v for k, v in read_state_dict(path).items() if not k.startswith("fc.")}
    # The file may have batch norm's step counter, which frozen batch norm does not have.
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    expected = {k: tuple(v.shape) for k, v in body.state_dict().items() if not k.endswith("num_batches_tracked")}
    found = {k: tuple(v.shape) for k, v in state.items()}
    wrong = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))
    if wrong:
        raise WeightsError(
            f"{path}: not the weights of this backbone: {len(wrong)} of {len(expected)} tensors are missing, "
            f"additional or of another shape, the first is {wrong[0]!r}: found {found.get(wrong[0])}, "
            f"expected {expected.get(wrong[0])}"
        )
    body.load_state_dict(state, strict=False)


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file written by torch.save. Raises WeightsError for anything but tensors."""
    if zipfile.is_zipfile(str(path)):
        with zipfile.ZipFile(str(path)) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise WeightsError(f"{path}: a TorchScript program, not a state_dict; it is not loaded")
    try:
        loaded = _load_tensors_only(path)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, OSError) as error:
        raise WeightsError(f"{path}: not a state_dict of tensors: {first_line(error)}") from None
    if not isinstance(loaded, dict) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in loaded.items()
    ):
        raise WeightsError(f"{path}: holds a {type(loaded).__name__}, expected a state_dict of tensors")
    return dict(loaded)


def _load_tensors_only(path: Path) -> Any:
    if tuple(map(int, torch.__version__.split(".")[:2])) >= (1, 13):
        return torch.load(str(path), map_location="cpu", weights_only=True)
    # torch 1.12 has no weights_only, but an argument for the unpickler.
    return torch.load(str(path), map_location="cpu", pickle_module=_restricted_pickle())


_ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}
_STORAGES = ("FloatStorage", "HalfStorage", "DoubleStorage", "LongStorage", "IntStorage", "BoolStorage", "ByteStorage")


class _TensorsOnly(pickle.Unpickler):
    """An unpickler that finds only the parts of a state_dict, so that a file cannot call functions."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return getattr(torch, name)
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}") from None


def _restricted_pickle() -> types.ModuleType:
    module = types.ModuleType("restricted_pickle")
    module.Unpickler = _TensorsOnly  # type: ignore[attr-defined]
    module.load = lambda file, **options: _TensorsOnly(file, **options).load()  # type: ignore[attr-defined]
    module.UnpicklingError = pickle.UnpicklingError  # type: ignore[attr-defined]
    return module
