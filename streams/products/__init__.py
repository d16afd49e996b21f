"""`product-registered` events: the handler, the photos, the training job and its thresholds."""
