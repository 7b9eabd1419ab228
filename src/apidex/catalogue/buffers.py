"""Types of the buffers that a catalogue and its indexes consist of: in this process, or in memory shared with another one."""

from array import array

ByteBuffer = bytes | bytearray | memoryview

IntArray = array | memoryview  # type: ignore[type-arg] # evaluated, and array takes no argument at run time before 3.12


def narrowed(numbers: IntArray, largest: int) -> IntArray:
    """*numbers* as an array whose items have as few bytes as the *largest* number needs."""
    return array("H" if largest < 2**16 else "I" if largest < 2**32 else "Q", numbers)
