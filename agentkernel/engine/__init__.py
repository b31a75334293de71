"""The engine: its port, the link to its process, the process itself, and a scripted stand-in."""
