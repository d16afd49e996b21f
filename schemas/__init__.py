"""The contract with other services: pydantic events in, pydantic events out, and nothing else."""
