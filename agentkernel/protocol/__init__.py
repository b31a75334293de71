"""The wire: bytes to events and back, without input or output; used by server and client alike."""
