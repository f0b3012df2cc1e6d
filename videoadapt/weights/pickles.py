"""Archives of torch with Python objects among their tensors: the tensors are read, the objects are not made.

Trainers pickle their settings beside the weights (Lightning's hyper_parameters, MMEngine's histories). A pickle names classes
and says what to call; here every name but those that hold tensors together stands for an empty object, so that nothing is
imported, called or run, whatever the file says.
"""

import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# Parts of Python itself whose objects are settings; any other of its functions in a file of weights is there to be run.
_HARMLESS = {
    "argparse",
    "collections",
    "copyreg",
    "datetime",
    "decimal",
    "enum",
    "functools",
    "pathlib",
    "typing",
    "uuid",
    "_codecs",
}
_HARMLESS_BUILTINS = {
    "bool",
    "bytearray",
    "complex",
    "dict",
    "float",
    "getattr",
    "int",
    "list",
    "object",
    "set",
    "slice",
    "str",
    "tuple",
}


class _Empty:
    """What stands where the file has an object of some class: it takes everything and does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "_Empty":
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any): ...
    def __call__(self, *args: Any, **kwargs: Any) -> "_Empty":
        return self

    def __setstate__(self, state: Any) -> None: ...
    def __setitem__(self, key: Any, value: Any) -> None: ...
    def append(self, item: Any) -> None: ...
    def extend(self, items: Any) -> None: ...
    def add(self, item: Any) -> None: ...


class Module(_Empty):
    """An object of a TorchScript program, which keeps its attributes: tensors and further modules."""

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


def is_archive(path: Path) -> bool:
    """Whether this is torch's zip format; files of before torch 1.6 are one long pickle."""
    return zipfile.is_zipfile(path)


def is_program(path: Path) -> bool:
    """Whether this is a TorchScript archive, of `torch.jit.save`: code beside the tensors."""
    return _holds(path, "constants.pkl")


def is_of_another_kind(path: Path) -> bool:
    """Whether this is a whole zip archive that torch's weights are not in: an exported program, or arrays of numpy."""
    return is_archive(path) and not _holds(path, "data.pkl")


def _holds(path: Path, name: str) -> bool:
    if not is_archive(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(found.endswith(f"/{name}") for found in archive.namelist())


def read_archive(path: Path) -> tuple[Any, tuple[str, ...]]:
    """The content of a torch archive with empty objects for all classes, and the names of these classes.

    Raises UnpicklingError for a function of Python itself, and what zipfile and pickle raise for damage.
    """
    with zipfile.ZipFile(path) as archive:
        reader = _Reader(archive, _only(archive, "data.pkl"))
        return reader.load(), tuple(dict.fromkeys(reader.unread))


def module_tensors(module: Any, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a TorchScript module and of those in it, under the names that its state dict would have."""
    found: dict[str, Tensor] = {}
    for name, value in (module.state if isinstance(module, Module) else {}).items():
        if isinstance(value, Tensor):
            found[prefix + name] = value
        elif isinstance(value, Module):
            found |= module_tensors(value, f"{prefix}{name}.")
    return found


class _Reader(pickle.Unpickler):
    """Tensors are put together; all other names are empty objects."""

    def __init__(self, archive: zipfile.ZipFile, name: str):
        super().__init__(archive.open(name))
        self._archive, self._folder = archive, name.removesuffix("data.pkl")
        self._storages: dict[str, Tensor] = {}
        self.unread: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name in the pickle: a known type, a storage's kind, or an empty class. Nothing is imported.

        Raises UnpicklingError for functions of Python itself, which only a file that wants to run something names.
        """
        whole = f"{module}.{name}"
        if whole in _KNOWN:
            return _KNOWN[whole]
        if module in ("torch", "torch.storage") and name.endswith("Storage"):
            return whole
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype | torch.Size):
            return dtype
        if module.startswith("__torch__"):
            return type("Module", (Module,), {})
        _refuse_calls(module, name)
        self.unread.append(whole)
        return type("Empty", (_Empty,), {})

    def persistent_load(self, pid: Any) -> Tensor:
        kind, storage, key, _, count = pid
        if kind != "storage" or storage.rpartition(".")[2] not in _DTYPES:
            raise pickle.UnpicklingError(f"a storage of an unknown kind, {storage}")
        dtype = _DTYPES[storage.rpartition(".")[2]]
        if key not in self._storages:
            info = self._archive.getinfo(f"{self._folder}data/{key}")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != count * dtype.itemsize:
                raise ValueError(f"storage {key} has not the size that the file says")
            content = bytearray(self._archive.read(info))
            self._storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        return self._storages[key]


def _refuse_calls(module: str, name: str) -> None:
    """Raise UnpicklingError for what only a file that wants to run something names."""
    top = module.partition(".")[0]
    allowed = name in _HARMLESS_BUILTINS if top in ("builtins", "__builtin__") else top in _HARMLESS
    if (top in sys.stdlib_module_names or top == "__builtin__") and not allowed:
        raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")


def _tensor(
    storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_rest: Any
) -> Tensor:  # gradients and hooks
    return torch.as_strided(storage, tuple(size), tuple(stride), offset)


def _parameter(data: Tensor, *_rest: Any) -> Tensor:
    return data


def _as_is(value: Any = None, *_rest: Any) -> Any:
    return value


_KNOWN: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    **{f"torch.jit._pickle.build_{kind}list": _as_is for kind in ("int", "double", "bool", "tensor")},
    "torch.jit._pickle.restore_type_tag": _as_is,
}  # fmt: skip
_DTYPES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


def _only(archive: zipfile.ZipFile, name: str) -> str:
    """The whole name, with the archive's folder, of the record `name`."""
    found = [entry for entry in archive.namelist() if entry.count("/") == 1 and entry.endswith(f"/{name}")]
    if len(found) != 1 or (
        f"{found[0].removesuffix(name)}byteorder" in archive.namelist()
        and archive.read(f"{found[0].removesuffix(name)}byteorder") != b"little"
    ):
        raise ValueError(f"holds no {name} in the usual order of bytes")
    return found[0]
