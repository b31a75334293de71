"""The engine process: the only importer of llama_cpp; run as `python -m agentkernel.engine.worker FD`."""
