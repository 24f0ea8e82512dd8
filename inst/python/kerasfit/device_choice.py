"""``use_devices()``: the devices of JAX that share the work of each step."""

from __future__ import annotations

from typing import Any

import keras

from kerasfit.devices import choose
from kerasfit.errors import ArgumentError, StateError
from kerasfit.messages import describe

OTHER_BACKENDS = {
    "tensorflow": "Choose the backend jax, or build the model in the scope of a MirroredStrategy.",
    "torch": "Choose the backend jax.",
}
MORE_CPUS = (
    "To try several devices on a CPU, set the environment variable "
    "XLA_FLAGS=--xla_force_host_platform_device_count=4 before Keras loads."
)


def use_devices(devices: str | int | list[str] | None = "all") -> list[str]:
    """Train, evaluate and predict on several devices of this machine, with JAX; returns their names.

    Each device computes a part of each batch, and the results are those of one device. The model need not be
    made in a special way; its variables stay where they are.

    Parameters
    ----------
    devices
        "all"; a number, for the first devices; names such as "gpu:0"; or None for JAX's default device.

    Raises
    ------
    StateError
        If the backend is not JAX, or a ``keras.distribution`` is in use.
    ArgumentError
        If there is no such device, or there are fewer.
    """
    if keras.backend.backend() != "jax":
        raise StateError(
            f"Only JAX computes on several devices, and the backend is {keras.backend.backend()}.",
            hint=OTHER_BACKENDS[keras.backend.backend()],
        )
    if devices is None:
        choose([])
        return []
    if keras.distribution.distribution() is not None:
        raise StateError(
            "A keras.distribution is in use, which chooses the devices.",
            hint="End it with `keras.distribution.set_distribution(None)`.",
        )
    found = found_devices(devices)
    choose(found)
    return [*map(device_name, found)]


def found_devices(devices: Any) -> list[Any]:
    """The devices of JAX that ``use_devices()`` got. See there."""
    import jax

    found = jax.local_devices()
    names = [*map(device_name, found)]
    known = f"JAX has found {', '.join(names)}."
    if devices == "all":
        return found
    if isinstance(devices, (int, float)) and not isinstance(devices, bool):
        if devices not in range(1, len(found) + 1):
            raise ArgumentError(
                "devices",
                f"`devices` must be a whole number from 1 to {len(found)}, not {devices:g}.",
                f"{known} {MORE_CPUS}",
            )
        return found[: int(devices)]
    wanted = [devices] if isinstance(devices, str) else devices
    if (
        not isinstance(wanted, (list, tuple))
        or not wanted
        or not all(isinstance(name, str) for name in wanted)
    ):
        raise ArgumentError(
            "devices", f'`devices` must be "all", a number, or names, not {describe(devices)}.', known
        )
    for name in wanted:
        if name not in names:
            raise ArgumentError("devices", f'`devices` has "{name}", which is no device.', known)
    if len({*wanted}) < len(wanted):
        raise ArgumentError("devices", "`devices` has a name twice.", known)
    return [found[names.index(name)] for name in wanted]


def device_name(device: Any) -> str:
    return f"{device.platform}:{device.id}"
