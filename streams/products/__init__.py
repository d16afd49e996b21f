"""`product-registered` events: the handler, photos, the training job and its thresholds."""
