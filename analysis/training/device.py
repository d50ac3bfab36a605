"""Whether a training can run where it is asked to."""

import torch

from analysis.errors import UserError


def check_device(device: str) -> None:
    """Make sure that there is a device.

    Args:
        device: Such as `cpu` or `cuda`.

    Raises:
        UserError: This machine has none of that name.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        count = torch.cuda.device_count()
        found = f"cpu and {count} cuda devices" if count else "only cpu"
        raise UserError(
            f"expected a device of this machine, got {device!r}; it has {found}: use --device cpu"
        ) from None
