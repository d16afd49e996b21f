"""The object store: keys, manifests, concepts, parked segments and the S3 client."""
