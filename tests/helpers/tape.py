"""A stand-in for CUDA's recording where there is no GPU.

It notes the operations of a step and does them again, in the same places of memory and without running any Python of
the step, as a CUDA graph does.
"""

from contextlib import contextmanager
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from forgetless.estimators.engine import graph

aten = torch.ops.aten
# What CUDA cannot record, as the host must wait for it or send what it alone knows.
NOT_RECORDABLE = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.lift_fresh, aten.equal}


class Tape(TorchDispatchMode):
    """Notes operations while they are done."""

    def __init__(self):
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        packet = operation.overloadpacket
        by_mask = packet is aten.index and any(t is not None and t.dtype == torch.bool for t in args[1])
        if by_mask or packet in NOT_RECORDABLE:
            raise AssertionError(f"{operation} cannot be recorded")
        result = operation(*args, **(kwargs or {}))
        self.done.append((operation, args, kwargs or {}, result))
        return result

    def replay(self):
        """Do all again; results go to where they went."""
        for operation, args, kwargs, result in self.done:
            again = operation(*args, **kwargs)
            for place, value in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if torch.is_tensor(place) and place.data_ptr() != value.data_ptr():
                    place.copy_(value)


class OnTape:
    """Recording without a GPU. Here the work is done while it is recorded, so the first replay has nothing to do."""

    n_made = n_replays = 0

    def __init__(self, work, batch):
        type(self).n_made += 1
        self.batch, self.tape, self.is_first = batch.like([t.clone() for t in batch.tensors()]), Tape(), True
        with self.tape:
            self.outputs = work(self.batch)

    def __call__(self, batch):
        type(self).n_replays += 1
        if not self.is_first:
            with torch.no_grad():
                for place, t in zip(self.batch.tensors(), batch.tensors(), strict=True):
                    place.copy_(t)
                self.tape.replay()
        self.is_first = False
        return self.outputs


@contextmanager
def tape_for_cuda():
    """Make the CPU a device that has graphs; gives the class that counts recordings."""
    recording = type("Counted", (OnTape,), {})
    with (
        mock.patch.object(graph, "Recording", recording),
        mock.patch.object(graph, "WARM_UP", 2),
        mock.patch.object(graph, "can_record", lambda theta, steps: steps.settings() is not None),
    ):
        yield recording
