"""The command line."""

from agentkernel.cli.app import main

__all__ = ["main"]
