"""Records the PyTorch operations that a function runs, and replays them without Keras's Python code."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import torch

from kerasfit import keras_private
from kerasfit.devices import device_type
from kerasfit.engines.attributes import Attributes
from kerasfit.engines.model_key import model_key
from kerasfit.engines.shared_programs import is_first, shared_programs
from kerasfit.engines.torch.recorder import EscapeDetector, Recorder, Tensors, tensors_in
from kerasfit.tensors import leaves_of, map_leaves
from kerasfit.variables import step_variables

RECORDINGS = 64  # of a function, each for one shape of data; then all are discarded and made again


@dataclass
class SharedRecordings:
    """The recordings of all models with the same key, and their calls without one, by the data's shapes."""

    recordings: dict[tuple, Recording | None] = field(default_factory=dict)
    calls: Counter[tuple] = field(default_factory=Counter)


class Recorded:
    """A function of data that changes a model's variables, recorded once for each shape of data.

    For each shape of data, two calls run the Python code of layers, differentiation, optimizer and metrics.
    The first is recorded. After the second, the recording is run on copies of the function's inputs to verify
    it. If variables and outputs are not the same, bit for bit, or if Python reads the value of a tensor, the
    function is called as it is from then on. No call runs the function twice.

    A recording is a function of values alone, so models with equal keys share them.

    Parameters
    ----------
    model
        A model that consists of Keras's own parts, which have no side effects.
    kind
        The kind of the step: "train", "test" or "predict".
    function
        Returns nested tensors or None.
    options
        What a recording depends on besides the model and the data.
    after
        The number of calls with a shape of data before one is recorded, because recording takes time; calls
        of other models with an equal key count too. This does not change the results.
    """

    def __init__(
        self,
        model: keras.Model,
        kind: str,
        function: Callable[[Any], Any],
        after: int = 0,
        options: tuple = (),
    ):
        self.model = model
        self._kind = kind
        self._function = function
        self._options = options
        self._after = after
        self._calls: Counter[tuple] = Counter()  # without a recording, since attributes have changed
        self._variables: list[keras.Variable] = []
        self._recordings: dict[tuple, Recording | None] = {}
        self._shared = SharedRecordings()
        self._values: Tensors = []  # of the variables, since check_attributes()
        self._attributes: Attributes | None = None  # at the time of the recordings
        self._is_of_keras = False  # at the time of the recordings
        self._has_changed = False  # whether attributes have changed after they were noted
        self._is_first: bool | None = None  # whether there was no model like this one before

    def check_attributes(self) -> None:
        """Discard all recordings if attributes of the model's parts have changed since."""
        self._values = []
        if self._attributes is None or self._attributes.are_unchanged():
            return
        self._attributes = None
        self._has_changed = True
        self._recordings.clear()
        self._calls = Counter()
        self._after = max(1, 2 * self._after)
        if self._is_of_keras and not keras_private.consists_of_keras(self.model):
            self._after = sys.maxsize  # a user's function may have side effects

    def __call__(self, data: Any) -> Any:
        """Call ``check_attributes()``, then ``run()``."""
        self.check_attributes()
        return self.run(data)

    def run(self, data: Any, *, is_own: bool = True, planned: int = 0) -> Any:
        """Call the function or replay its recording, after ``check_attributes()``.

        If it writes into its data, it gets a copy, unless the data belong to this call (``is_own``). If
        at least ``after`` calls with data of this shape are ``planned``, it is recorded at once.
        """
        leaves = [leaf for leaf in leaves_of(data) if leaf is not None]
        return self.run_leaves(leaves, lambda: data, is_own=is_own, planned=planned)

    def run_leaves(
        self, leaves: Tensors, structured: Callable[[], Any], *, is_own: bool, planned: int = 0
    ) -> Any:
        """Do what ``run`` does for the tensors of the data; ``structured`` returns the data."""
        key = key_of(leaves)
        recording = self._recordings.get(key)
        if recording and recording.is_verified:
            if recording.writes_into_data and not is_own:
                leaves = [leaf.clone() for leaf in leaves]
            if not self._values:
                self._values = [variable.value for variable in self._variables]
            return recording.replay(self._values, leaves)
        data = structured() if is_own else copy_of(structured())
        if recording:
            return self._verify(recording, data)
        if key in self._recordings:  # not recordable
            return self._function(data)
        if self._attributes is None:
            if self._is_alone() and not self._pays(key, planned):
                self._calls[key] += 1
                return self._function(data)
            self._note_model()
        if (shared_key := self._shared_key(data)) in self._shared.recordings:
            self._recordings[key] = self._shared.recordings[shared_key]
            return self.run(data)
        if not self._pays(key, planned):
            self._calls[key] += 1
            return self._function(data)
        if len(self._recordings) == RECORDINGS:
            self._recordings.clear()
            self._calls.clear()
        outputs, self._recordings[key] = self._record(data)
        self._share(data, self._recordings[key])
        return outputs

    def _is_alone(self) -> bool:
        """Whether no other model can have recordings for this one: none was like it, or it has changed."""
        if self._is_first is None:
            shapes = tuple(tuple(variable.shape) for variable in step_variables(self.model, self._kind))
            self._is_first = is_first((self._kind, shapes))
        return self._is_first or self._has_changed

    def _pays(self, key: tuple, planned: int) -> bool:
        """Whether recording a call pays. What is planned does not count if attributes change on the way."""
        return max(self._calls[key], 0 if self._has_changed else planned) >= self._after

    @property
    def replays(self) -> bool:
        """Whether there is a verified recording for some shape of data."""
        return any(recording and recording.is_verified for recording in self._recordings.values())

    def has_recording_for(self, data: Any) -> bool:
        """Whether there is a verified recording for data of these shapes."""
        recording = self._recordings.get(key_of(tensors_in(data)))
        return recording is not None and recording.is_verified

    def _note_model(self) -> None:
        """Note the state of the model's parts, and find the recordings of models with the same key."""
        self._variables = step_variables(self.model, self._kind)
        self._attributes = Attributes(self.model)
        self._is_of_keras = keras_private.consists_of_keras(self.model)
        self._shared = SharedRecordings()
        if (key := model_key(self.model, self._kind)) is not None:
            self._shared = shared_programs((key, self._kind, *self._options, *settings()), SharedRecordings)
        if not self._has_changed:
            self._shared.calls.update(self._calls)
            self._calls = self._shared.calls

    def _shared_key(self, data: Any) -> tuple:
        """A key of the data's shapes and structure: the names of inputs may differ between models."""
        paths = tuple(path for path, leaf in keras.tree.flatten_with_path(data) if leaf is not None)
        return paths, key_of(tensors_in(data))

    def _share(self, data: Any, recording: Recording | None) -> None:
        recordings = self._shared.recordings
        if len(recordings) == RECORDINGS:
            recordings.clear()
        recordings[self._shared_key(data)] = recording

    def _record(self, data: Any) -> tuple[Any, Recording | None]:
        recorder = Recorder([variable.value for variable in self._variables], tensors_in(data))
        with EscapeDetector(recorder), recorder:
            outputs = self._function(data)
        return outputs, None if recorder.has_given_up else Recording(recorder, outputs)

    def _verify(self, recording: Recording, data: Any) -> Any:
        """Call the function, and verify that the recording does the same with copies."""
        leaves = [leaf.clone() for leaf in tensors_in(data)]
        before = State.of(self._variables)
        outputs = self._function(data)
        recording.is_verified = recording.matches(leaves, before, State.of(self._variables), outputs)
        if not recording.is_verified:
            self._recordings = dict.fromkeys(self._recordings)
            self._share(data, None)
        return outputs


def settings() -> tuple:
    """Settings of PyTorch on which the operations that Keras calls may depend."""
    return (
        torch.get_default_device(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.mkldnn.enabled,
    )


def key_of(leaves: Tensors) -> tuple:
    return tuple((leaf.shape, leaf.dtype) for leaf in leaves)


class Recording:
    """Recorded PyTorch operations, as a function of the data's tensors that changes the values of variables.

    Attributes
    ----------
    is_verified
        Whether it has been verified to do the same as the function.
    writes_into_data
        Whether one of the operations changes a tensor of the data.
    """

    def __init__(self, recorder: Recorder, outputs: Any):
        self.is_verified = False
        self.writes_into_data = recorder.writes_into_data
        self._structure = keras.tree.map_structure(lambda output: None, outputs)
        self._program = recorder.program(tensors_in(outputs))

    def replay(self, values: Tensors, leaves: Tensors) -> Any:
        outputs = self._run(values, leaves)
        return keras.tree.pack_sequence_as(self._structure, outputs) if outputs else None

    @torch.no_grad()
    def _run(self, values: Tensors, leaves: Tensors) -> tuple:
        return self._program(*values, *leaves)

    def matches(self, leaves: Tensors, before: State, after: State, outputs: Any) -> bool:
        """Whether it returns these outputs for the data and changes the state from ``before`` to ``after``.

        It may write into the tensors of ``leaves`` and ``before``.
        """
        before.set_random()
        try:
            given = self._run(before.values, leaves)
            return all_equal(given, outputs) and State.now(before.values).equals(after)
        finally:
            after.set_random()


class State(NamedTuple):
    """Values of variables, and the states of PyTorch's random number generators."""

    values: Tensors
    random: Tensors

    @classmethod
    def now(cls, values: Tensors) -> State:
        return cls(values, [module.get_rng_state() for module in random_modules()])

    @classmethod
    def of(cls, variables: list[keras.Variable]) -> State:
        """Copy the current state."""
        return cls.now([variable.value.detach().clone() for variable in variables])

    @torch.no_grad()
    def restore(self, variables: list[keras.Variable]) -> None:
        """Restore this state."""
        for variable, value in zip(variables, self.values, strict=True):
            variable.value.copy_(value)
        self.set_random()

    def set_random(self) -> None:
        for module, state in zip(random_modules(), self.random, strict=True):
            module.set_rng_state(state)

    def equals(self, other: State) -> bool:
        return all_equal(list(self), list(other))


def random_modules() -> list[Any]:
    """PyTorch's modules with a random state: for the CPU, and last for the device on which Keras computes."""
    of_device = getattr(torch, device_type(), None)
    return [torch, of_device] if hasattr(of_device, "get_rng_state") else [torch]


def copy_of(data: Any) -> Any:
    """Copy each tensor in some data."""
    return map_leaves(lambda leaf: None if leaf is None else leaf.clone(), data)


def all_equal(a: Any, b: Any) -> bool:
    """Whether all tensors in two structures are equal, bit for bit."""
    pairs = zip(tensors_in(a), tensors_in(b), strict=True)
    return all(torch.allclose(one, other, rtol=0, atol=0, equal_nan=True) for one, other in pairs)
