"""Write safetensors files atomically, with equal bytes for equal tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.local_files import partial_file
from models.stages import StepCallback, ignore_steps

_CHUNK = 16 * 2**20  # bytes between two reports of progress
# The names of the format, in the order in which the safetensors library writes tensors: the widest type first.
_DTYPES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ORDER = list(_DTYPES)


def write_tensors(
    tensors: Mapping[str, Tensor], path: Path, meta: Mapping[str, str], report: StepCallback = ignore_steps
) -> None:
    """Write a safetensors file that is complete or absent, even if the process dies while it writes.

    The bytes are those of the safetensors library, with sorted metadata: it writes them in the order of a hash table,
    which differs between runs. Tensors are copied from their device one by one.
    report: called with bytes done and in total after each chunk; what it raises ends the writing.
    Raises ScratchDiskUnusable.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = sorted(tensors, key=lambda name: (_ORDER.index(tensors[name].dtype), name))
    header = _header(tensors, names, meta)
    done, total = 0, sum(tensor.nbytes for tensor in tensors.values())
    with partial_file(path) as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for name in names:
            flat = tensors[name].detach().contiguous().cpu().reshape(-1)
            content = memoryview(flat.view(torch.uint8).numpy())  # type: ignore[arg-type, unused-ignore]
            for start in range(0, len(content), _CHUNK):
                chunk = content[start : start + _CHUNK]
                file.write(chunk)
                done += len(chunk)
                report(done, total)
        file.commit()


def _header(tensors: Mapping[str, Tensor], names: list[str], meta: Mapping[str, str]) -> bytes:
    """Return the header as JSON, padded with spaces to a multiple of 8 bytes."""
    fields: dict[str, object] = {"__metadata__": dict(sorted(meta.items()))}
    start = 0
    for name in names:
        tensor = tensors[name]
        end = start + tensor.nbytes
        fields[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    header = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    return header + b" " * (-len(header) % 8)
