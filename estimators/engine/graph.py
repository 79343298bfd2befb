"""What a device does in a step, recorded once as a CUDA graph, and then started by one call.

A small network's kernels take less time than Python takes to start them one by one.
"""

import warnings

import torch

# So many calls run as they are before one is recorded. Libraries make their plans and workspaces in the first of them;
# and as recording takes as long as many steps, a short call should not pay for it.
_WARM_UP = 10


def can_record(theta, steps):
    """Whether steps of an optimiser that move `theta` are on a device that has graphs, and the same work each time."""
    return theta.is_cuda and steps.settings() is not None


def recorded(work, theta, steps):
    """`work`, a step that moves `theta`, as it is or :class:`Recorded`."""
    return Recorded(work, steps.settings) if can_record(theta, steps) else work


class Recorded:
    """A function of tensors that is recorded for each shape of its inputs and replayed from then on.

    Where something cannot be recorded (a module that asks for a number in the middle of its forward pass, say), a
    warning says so, and the function is called as it is.

    Parameters
    ----------
    work : callable
        From tensors to a tuple of tensors. What it does must depend on nothing else that changes but on `settings` and
        on what tensors hold that stay in their places.
    settings : callable
        Returns something hashable; when it changes, recordings are made anew.
    """

    def __init__(self, work, settings):
        self.work = work
        self.settings = settings
        self.is_refused = False
        self._forget(None)

    def _forget(self, settings):
        self.made_with, self.n_calls, self.recordings = settings, {}, {}

    def __call__(self, *inputs):
        """What `work` returns; after a replay, in tensors that the next one overwrites."""
        if self.is_refused:
            return self.work(*inputs)
        settings = self.settings()
        if settings != self.made_with:
            self._forget(settings)
        key = tuple((t.shape, t.dtype) for t in inputs)
        if key not in self.recordings:
            self.n_calls[key] = self.n_calls.get(key, 0) + 1
            if self.n_calls[key] <= _WARM_UP:
                return self.work(*inputs)
            try:
                self.recordings[key] = Recording(self.work, inputs)
            except RuntimeError as error:
                self.is_refused = True
                self._forget(None)
                reason = str(error).partition("\n")[0]
                warnings.warn(f"Training goes on without CUDA graphs, more slowly: {reason}", stacklevel=2)
                return self.work(*inputs)
        return self.recordings[key](inputs)


class Recording:
    """One graph, and the places of its inputs and outputs.

    Parameters
    ----------
    work : callable
    inputs : tuple of torch.Tensor
        Like those to come.
    """

    def __init__(self, work, inputs):
        self.inputs = [t.clone() for t in inputs]
        self.graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream()
        try:
            with torch.cuda.graph(self.graph):
                self.outputs = work(*self.inputs)
        finally:
            torch.cuda.set_stream(stream)  # torch stays on its own where recording fails

    def __call__(self, inputs):
        """What `work` would return, in tensors that the next call overwrites."""
        for place, t in zip(self.inputs, inputs, strict=True):
            place.copy_(t, non_blocking=True)
        self.graph.replay()
        return self.outputs
