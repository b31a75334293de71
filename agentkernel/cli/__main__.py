"""`python -m agentkernel.cli`."""

from agentkernel.cli.app import main

main()
