"""Memory of a CUDA device shared with other libraries: the waiting that DLPack leaves to its two sides.

Work on one stream happens in the order in which it was asked for; between streams there is no order but by events.
luxon does all of a device's work on one stream, so there are four moments to see to. Another library is about to
use luxon's memory: its stream waits for luxon's (`lend`). It gives the memory back: luxon's stream waits for it
(`regain`), as the memory is used again. luxon is about to use another's memory: it names its stream, and the
other's waiting is the other's work. luxon is done with it: the other gets it back when what luxon's stream was
asked to do until then is done (`retire`, `settle`). The host waits in none of these, except for `regain` from a
stream that may be gone.
"""

from __future__ import annotations

import collections
from typing import Any

from ._cupy import CuPyTable

#: The handles of the default streams, that of a process and that of a thread, as the runtime and DLPack number them.
LEGACY, PER_THREAD = 1, 2


class Exchange:
    """What a device and other libraries owe each other."""

    def __init__(self, table: CuPyTable) -> None:
        import cupy

        self._cupy, self._runtime = cupy, cupy.cuda.runtime
        self._table = table
        #: luxon's stream, as it is named to producers.
        self.stream: int = table.stream.ptr
        self._retired: collections.deque[tuple[Any, object]] = collections.deque()

    def _recorded(self, stream: int) -> Any:
        """An event after what a stream was asked for so far."""
        with self._table.device:
            event = self._cupy.cuda.Event(disable_timing=True)
            self._runtime.eventRecord(event.ptr, stream)
        return event

    def _wait(self, stream: int, other: int) -> None:
        """Makes a stream wait for what another was asked for so far."""
        event = self._recorded(other)
        with self._table.device:
            self._runtime.streamWaitEvent(stream, event.ptr)

    def lend(self, stream: int) -> None:
        """A consumer takes memory and will use it on a stream of its own; -1: it sees to the order itself."""
        self.settle()
        if stream not in (-1, self.stream):
            self._wait(stream, self.stream)

    def regain(self, stream: int) -> None:
        """A consumer that used the memory on a stream gives it back."""
        if stream in (LEGACY, PER_THREAD):
            # The legacy stream waits for all streams that were not made to run beside it, each thread's default too.
            self._wait(self.stream, LEGACY)
        elif stream != self.stream:
            # The stream may be gone by now, and its handle with it.
            with self._table.device:
                self._runtime.deviceSynchronize()

    def retire(self, owner: object) -> None:
        """Lets go of an owner of memory after what luxon's stream was asked for so far."""
        self._retired.append((self._recorded(self.stream), owner))
        self.settle()

    def settle(self) -> None:
        """Lets go of the owners whose time has come."""
        while self._retired and self._retired[0][0].done:
            self._retired.popleft()

    def examine(self, first: int, last: int) -> None:
        """Looks whether bytes from `first` to `last` can belong to the device.

        Raises:
            BufferError: they do not.
        """
        known = (self._runtime.memoryTypeDevice, self._runtime.memoryTypeManaged)
        for address in (first, last):
            with self._table.device:
                found = self._runtime.pointerGetAttributes(address)
            if found.type not in known:
                raise BufferError(f"from_dlpack: address {address:#x} is not memory of a CUDA device")
            if found.type == known[0] and found.device != self._table.index:
                raise BufferError(
                    f"from_dlpack: address {address:#x} is on CUDA device {found.device}, "
                    f"not on {self._table.index}"
                )


def view(array: Any) -> Any:
    """An object with `__cuda_array_interface__` alone, as a CuPy array over the same memory.

    Raises:
        RuntimeError: CuPy is missing.
    """
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError(
            f"asarray: memory of a CUDA device takes CuPy, which is missing ({error})"
        ) from error
    return cupy.asarray(array)
