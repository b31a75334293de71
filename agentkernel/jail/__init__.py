"""Where tools run: programs under limits, with nothing of the machine but one workspace."""
