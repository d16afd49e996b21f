"""Fine-tuning the model on a product's photos."""
