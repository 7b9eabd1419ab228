"""Types of the buffers that a catalogue and its indexes consist of: in this process, or in memory shared with another one."""

from array import array

ByteBuffer = bytes | bytearray | memoryview

IntArray = array | memoryview  # type: ignore[type-arg] # evaluated, and array takes no argument at run time before 3.12
