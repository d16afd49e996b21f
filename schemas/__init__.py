"""The contract with other services: the pydantic models of every event. `schemas.events` exports them all."""
