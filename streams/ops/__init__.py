"""What operators ask of a deployment."""
