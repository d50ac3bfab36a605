"""Where weights lie: on one device, or those that do not fit there in memory or on disk."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from torch import nn

from analysis.errors import UserError

AUTO = "auto"
"""The device that fills a GPU, if there is one, and keeps the rest in memory, then on disk."""
DISK = "disk"
SHARE = 0.8
"""Of a GPU's free memory that weights may take; activations need the rest."""


def room() -> dict[int | str, int]:
    """Bytes that weights may take, in the order in which places are filled: GPU, memory."""
    accelerate: Any = import_module("accelerate.utils")
    found: dict[int | str, int] = accelerate.get_max_memory()
    gpu = {0: int(SHARE * found[0])} if 0 in found else {}
    return {**gpu, "cpu": found["cpu"]}


def spread(net: nn.Module, layers: Iterable[nn.Module]) -> None:
    """Put as many layers as fit on the main device; the others come when they are needed.

    Every layer computes on the main device: the GPU, or the processor where there is none. What
    is no layer, such as embedding and unembedding, stays there.

    Args:
        net: The model, in main memory.
        layers: Its decoder layers.

    Raises:
        UserError: The package accelerate is not installed.
    """
    try:
        accelerate: Any = import_module("accelerate")
    except ImportError:
        raise UserError(
            "expected the package accelerate for --device auto, it is not installed; "
            "pip install 'headbook[large]'"
        ) from None
    rooms = room()
    main = next(iter(rooms))
    stacked = set(layers)
    pieces = dict(_pieces("", net, stacked))
    places: dict[str, int | str] = {}
    for name, module in sorted(pieces.items(), key=lambda piece: piece[1] in stacked):
        size = sum(weight.nbytes for weight in module.parameters())
        fits = (place for place, left in rooms.items() if size <= left)
        places[name] = next(fits, DISK) if module in stacked else main
        if places[name] in rooms:
            rooms[places[name]] -= size
    if set(places.values()) == {main}:
        net.to(main)
        return
    folder = tempfile.TemporaryDirectory(prefix="headbook-weights-")
    weakref.finalize(net, folder.cleanup)
    accelerate.dispatch_model(net, places, main_device=main, offload_dir=folder.name)


def _pieces(
    name: str, module: nn.Module, layers: set[nn.Module]
) -> Iterator[tuple[str, nn.Module]]:
    """Layers, and the largest parts that hold none, by name."""
    if module in layers or layers.isdisjoint(module.modules()):
        yield name, module
        return
    for child, part in module.named_children():
        yield from _pieces(f"{name}.{child}" if name else child, part, layers)


@contextmanager
def fetched(module: nn.Module) -> Generator[None]:
    """Have a module's weights on its device for a while, wherever they lie."""
    if not any(weight.is_meta for weight in module.parameters()):
        yield
        return
    accelerate: Any = import_module("accelerate.utils")
    with accelerate.align_module_device(module):
        yield
