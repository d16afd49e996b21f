"""The object store: keys, manifests, concepts, and the S3 client behind them."""
